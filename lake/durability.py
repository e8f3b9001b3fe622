"""Making written files survive a power cut."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Return when the content of a file is on the disk.

    Raises:
        OSError: The file is gone or the disk failed.
    """
    # Windows flushes only through a handle that may write.
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Return when the names in a folder are on the disk.

    Windows has no such call: NTFS journals names together with the flushed file.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path, *, up_to: Path) -> None:
    """Return when the names of a folder and of those above it are on the disk, and the names within it.

    Whoever made them may have died before syncing them, so this is for the start of every writer.

    Args:
        folder: The lowest folder.
        up_to: The highest folder whose own name is to be synced; nothing above its parent is touched.

    Raises:
        OSError: A folder is gone, or the disk failed.
    """
    top = up_to.resolve().parent
    current = folder.resolve()
    while True:
        fsync_directory(current)
        if current in {top, current.parent}:
            return
        current = current.parent


def rewrite_durably(path: Path) -> None:
    """Write the content of a file once more, and return when it is on the disk under its name.

    Where an fsync has failed, another one proves nothing: Linux forgets the pages it could not write.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The disk is full or failed; the file is as it was.
    """
    replace_durably(path, path.read_bytes())


def replace_durably(path: Path, data: bytes | memoryview) -> None:
    """Write a file in place of the one that is there, if any, and return when it is on the disk.

    Whoever reads sees the old content or the new one, and so does a power cut; the folder is made.

    Raises:
        OSError: The disk is full or failed; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    write_durably(draft, data)
    try:
        os.replace(draft, path)  # noqa: PTH105 - the file may be there, and is meant to be replaced
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Write a new file and return when its content is on the disk; the name is not synced.

    Raises:
        FileExistsError: There is such a file already.
        OSError: The disk is full or failed; what was written is removed.
    """
    file = path.open("xb")
    try:
        # Closing writes what is still buffered, so on a full disk it fails once more, within this block.
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
