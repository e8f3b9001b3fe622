"""What is left on a disk after a power cut, worked out from the journal that the disk shim kept.

The model is what POSIX promises and no more: a file's bytes are sure once the file was synced, a name
once its folder was. Everything else may be there, in part, or not at all; `Cut` says which.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

CREATE, WRITE, TRUNCATE, SYNC, LINK, RENAME, UNLINK, MKDIR, RMDIR, OPEN = (1 << i for i in range(10))
_RECORD = struct.Struct("<IIIIQqq")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changed or synced something, as `struct record` in disk_shim.c.

    Attributes:
        kind: One of the constants above.
        path: What it was called on.
        other: The new name, for `LINK` and `RENAME`.
        failed: The errno of a sync that failed; other calls that failed are not in the journal.
        inode: Of the file.
        offset: Where it wrote; the new size, for `TRUNCATE`.
        data: What it wrote.
    """

    kind: int
    path: str
    other: str
    failed: int
    inode: int
    offset: int
    data: bytes


def read_journal(path: Path) -> list[Call]:
    content = path.read_bytes()
    calls, at = [], 0
    while at < len(content):
        kind, path_length, other_length, failed, inode, offset, size = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        name = content[at : at + path_length].decode()
        at += path_length
        other = content[at : at + other_length].decode()
        at += other_length
        data = content[at : at + size] if kind == WRITE else b""
        at += len(data)
        calls.append(Call(kind, name, other, failed, inode, offset, data))
    return calls


@dataclass(slots=True, eq=False)
class File:
    """A file's bytes on the disk, and the changes that are only in memory yet."""

    sure: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)
    ever_synced: bool = False

    def sync(self) -> None:
        for call in self.pending:
            _apply(self.sure, call)
        self.pending.clear()
        self.ever_synced = True

    def with_changes(self, changes: list[Call]) -> bytes:
        content = bytearray(self.sure)
        for call in changes:
            _apply(content, call)
        return bytes(content)


class Folder:
    """A folder; its names are kept by the disk."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What becomes of what was not synced.

    Attributes:
        names: `kept`: all names are as last seen; `lost`: as last synced; `some`: either, by folder.
        changes: Of a file's unsynced changes: `none`, `half`, `some` in any order, or `all` are there.
        removed: Files that were never synced are gone instead of empty.
    """

    names: str = "kept"
    changes: str = "none"
    removed: bool = False


CUTS = {
    "unsynced files are empty": Cut(),
    "unsynced files are gone": Cut(removed=True),
    "unsynced files are cut in half": Cut(changes="half"),
    "unsynced names are lost": Cut(names="lost"),
    "unsynced names are lost, changes are there": Cut(names="lost", changes="all"),
    "some of everything": Cut(names="some", changes="some"),
    "nothing is lost": Cut(changes="all"),
}


class Disk:
    """Follows a journal call by call."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, File] = {}
        self._now: dict[str, File | Folder] = {}
        self._sure: dict[str, File | Folder] = {}

    def follow(self, call: Call) -> None:
        if call.kind == CREATE:
            # An inode's number is given out again once its file is gone.
            self._files[call.inode] = self._now[call.path] = File()
        elif call.kind in (WRITE, TRUNCATE):
            self._files[call.inode].pending.append(call)
        elif call.kind == MKDIR:
            self._now[call.path] = Folder()
        elif call.kind in (UNLINK, RMDIR):
            del self._now[call.path]
        elif call.kind == LINK:
            self._now[call.other] = self._now[call.path]
        elif call.kind == RENAME:
            assert not isinstance(self._now[call.path], Folder), "renamed folders are not modelled"
            self._now[call.other] = self._now.pop(call.path)
        elif call.kind == SYNC:
            self._sync(call)

    def _sync(self, call: Call) -> None:
        known = self._now.get(call.path)
        if call.path == self._root or isinstance(known, Folder):
            if not call.failed:
                for name in {*self._names_in(call.path, self._sure), *self._names_in(call.path, self._now)}:
                    if name in self._now:
                        self._sure[name] = self._now[name]
                    else:
                        del self._sure[name]
            return
        file = self._files[call.inode]
        if call.failed:
            file.pending.clear()  # in the cache until the power goes, but never written any more
        else:
            file.sync()

    @staticmethod
    def _names_in(folder: str, names: dict[str, File | Folder]) -> Iterator[str]:
        return (name for name in names if str(PurePosixPath(name).parent) == folder)

    def after(self, cut: Cut, seed: int = 0) -> dict[str, bytes | None]:
        """What is there when the power comes back: content by path below the root, None for folders."""
        dice = random.Random(seed)  # noqa: S311 - any choice does, but the same one in every run
        left: dict[str, bytes | None] = {}
        fate: dict[str, bool] = {}
        for path in sorted({*self._now, *self._sure}):
            folder = str(PurePosixPath(path).parent)
            if folder != self._root and folder[len(self._root) + 1 :] not in left:
                continue  # the folder is gone, and all in it
            kept = cut.names == "kept"
            if cut.names == "some":
                kept = fate.setdefault(folder, dice.random() < 0.5)
            there = (self._now if kept else self._sure).get(path)
            # SQLite makes its shared memory anew, and writes it through a mapping that no shim sees.
            if there is None or path.endswith("-shm"):
                continue
            name = path[len(self._root) + 1 :]
            if isinstance(there, Folder):
                left[name] = None
            elif there.ever_synced or not cut.removed:
                left[name] = self._content(there, cut, dice)
        return left

    @staticmethod
    def _content(file: File, cut: Cut, dice: random.Random) -> bytes:
        if cut.changes == "half":
            if file.ever_synced:
                return file.with_changes(file.pending[: len(file.pending) // 2])
            content = file.with_changes(file.pending)
            return content[: len(content) // 2]
        if cut.changes == "some":
            return file.with_changes([change for change in file.pending if dice.random() < 0.5])
        return file.with_changes(file.pending if cut.changes == "all" else [])


def put_back(left: dict[str, bytes | None], folder: Path) -> None:
    """Make real files of what is left."""
    for name, content in left.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(content)


def _apply(content: bytearray, call: Call) -> None:
    if call.kind == TRUNCATE:
        if call.offset < len(content):
            del content[call.offset :]
        else:
            content.extend(bytes(call.offset - len(content)))
        return
    if call.offset > len(content):
        content.extend(bytes(call.offset - len(content)))
    content[call.offset : call.offset + len(call.data)] = call.data
