"""A folder whose files are replaced all together, or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lake.durability import fsync_directory, fsync_file
from lake.errors import ReportsInUseError, StreamInUseError
from lake.process_lock import ProcessLock


@contextmanager
def replaced_folder(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Hand out an empty folder; what was written there takes the old one's place when the block ends well.

    Beside `folder` (`reports`) there are, while this runs, `.reports.<random>.new` with the new files, and
    for the moment of the swap `.reports.old`. If the block raises, or is interrupted, the new files are
    removed and `folder` is as it was. No system swaps two folders portably, so the swap is two renames: old
    one away, new one in. A process that dies between them leaves no `reports`, but a whole `.reports.old`,
    which the next call puts back before anything else. A power cut at any time leaves either set, whole.

    On Windows a folder with an open file cannot be renamed: then the old one stays, and so does the error.

    Args:
        folder: To be replaced; made if it is not there.
        patterns: Names of the files that belong to the set. Other files of `folder` are moved over.

    Raises:
        ReportsInUseError: Another process does this, or a file in the folder is open in a program (Windows).
        OSError: The folder cannot be written, or is not one of reports.
    """
    target = folder.resolve()
    _check(target, patterns)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = _locked(target)
    try:
        _clean_up(target, patterns)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
        draft.mkdir()
        try:
            yield draft
            _swap(draft, target, patterns)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    finally:
        lock.release()


def _check(target: Path, patterns: Sequence[str]) -> None:
    """A folder that somebody named by mistake (home, the project) must not be renamed and emptied."""
    if not target.is_dir():
        if target.exists():
            raise NotADirectoryError(f"{target} is a file: reports need a folder")
        return
    strange = next((p for p in sorted(target.iterdir()) if not _may_be_there(p, patterns)), None)
    if strange is not None or Path.cwd().is_relative_to(target):
        why = f"it holds {strange.name}" if strange else "it is the folder you are in"
        raise FileExistsError(f"{target} is no folder of reports ({why}): name another one")


def _may_be_there(path: Path, patterns: Sequence[str]) -> bool:
    known = any(path.match(pattern) for pattern in patterns)
    return path.is_file() and (known or path.suffix in {".json", ".png", ".md"})


def _locked(target: Path) -> ProcessLock:
    try:
        return ProcessLock(
            target.with_name(f".{target.name}.lock"), role=f"writer of {target}", hint="wait for it to end"
        )
    except StreamInUseError as error:
        raise ReportsInUseError(str(error)) from error


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _clean_up(target: Path, patterns: Sequence[str]) -> None:
    """Finish or undo what a process that died left; nobody else is at it, since we hold the lock."""
    old = _old(target)
    if old.is_dir():
        if target.exists():
            _retire(old, target, patterns)
        else:
            old.rename(target)
            fsync_directory(target.parent)
    for draft in target.parent.glob(f".{target.name}.*.new"):
        shutil.rmtree(draft)


def _swap(draft: Path, target: Path, patterns: Sequence[str]) -> None:
    for file in draft.iterdir():
        fsync_file(file)
    fsync_directory(draft)
    old = _old(target)
    try:
        if target.exists():
            target.rename(old)
        draft.rename(target)
    except BaseException as error:
        # An interrupt may come between any two steps, so what is on the disk decides.
        if not target.exists() and old.is_dir():
            old.rename(target)
        if isinstance(error, PermissionError):
            raise ReportsInUseError(
                f"{target} could not be replaced and is as it was: is one of its files open? ({error})"
            ) from error
        raise
    fsync_directory(target.parent)
    if old.is_dir():
        _retire(old, target, patterns)


def _retire(old: Path, target: Path, patterns: Sequence[str]) -> None:
    """Move over what is not of the set, then delete the old folder."""
    for path in sorted(old.iterdir()):
        if not any(path.match(pattern) for pattern in patterns) and not (target / path.name).exists():
            path.rename(target / path.name)
    fsync_directory(target)
    # What cannot be deleted now is deleted by the next call: the new reports are in place.
    shutil.rmtree(old, ignore_errors=True)
