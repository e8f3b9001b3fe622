"""The token of a page that others on the network may reach, in a file that only the user can read."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from lake.durability import sync_names
from lake.errors import SettingsError

FILE_NAME = "dashboard.token"
_SHORTEST = 32


def token_of(root: Path) -> tuple[str, Path]:
    """The token of a lake and its file, made on the first call; delete the file for a new one.

    On Windows the file has the access list of its folder: keep the lake where other accounts cannot read.

    Raises:
        SettingsError: Others can read or write the file, or it is no token.
        OSError: It cannot be read or written.
    """
    path = root / FILE_NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path), path
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_names(root, up_to=root)
    return token, path


def _read(path: Path) -> str:
    if sys.platform != "win32":
        mode = path.stat()
        if mode.st_uid != os.getuid() or mode.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsError(f"{path}: others may read or own it; chmod 600, or delete it for a new token")
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if len(token) < _SHORTEST:
        raise SettingsError(f"{path}: this is no token; delete the file for a new one")
    return token
