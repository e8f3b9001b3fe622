"""What of a Delta log cannot be read: torn, empty and missing commits, torn log checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lake.commit_log import commit_file, read_actions, versions
from lake.log_archive import archived_through


@dataclass(frozen=True, slots=True)
class LogDamage:
    """One thing in a log that cannot be read.

    Attributes:
        kind: `torn_commit`, `empty_commit`, `missing_commit` or `torn_checkpoint`.
        version: Version concerned.
        path: The file; of a torn checkpoint also `_last_checkpoint`, which names the newest one.
    """

    kind: str
    version: int
    path: Path


def log_damage(table_path: Path, *, since_checkpoint: bool = False) -> list[LogDamage]:
    """Everything in a log that cannot be read, oldest first.

    Args:
        table_path: Folder of the table.
        since_checkpoint: Look only at the newest log checkpoint that can be read and what came after it:
            what opening the table depends on, at a cost that does not grow with the log.
    """
    log = table_path / "_delta_log"
    damage = []
    sound_through = -1
    for path in sorted(log.glob("*.checkpoint*.parquet"), reverse=True):
        version = int(path.name[:20])
        if can_be_read(path):
            sound_through = max(sound_through, version)
            if since_checkpoint:
                break
        else:
            damage.append(LogDamage("torn_checkpoint", version, path))
    if (hint := torn_hint(table_path)) is not None:
        damage.append(hint)
    known = versions(table_path)
    for version in known:
        path = commit_file(table_path, version)
        # A commit that the checkpoint sums up may be gone, but deltalake wants the newest one to be there.
        if since_checkpoint and version < sound_through:
            continue
        try:
            read_actions(path)
        except FileNotFoundError:
            continue  # cleaned up just now
        except ValueError:
            kind = "torn_commit" if path.stat().st_size else "empty_commit"
            damage.append(LogDamage(kind, version, path))
    damage += [
        LogDamage("missing_commit", v, commit_file(table_path, v))
        for v in _missing(table_path, known, sound_through, since_checkpoint=since_checkpoint)
    ]
    return sorted(damage, key=lambda d: (d.version, d.kind))


def _missing(table_path: Path, known: list[int], sound_through: int, *, since_checkpoint: bool) -> list[int]:
    """Versions between the oldest and the newest that have no commit file."""
    newest = max([sound_through, *known])
    first = sound_through if since_checkpoint else min(known, default=0)
    # Without a checkpoint that can be read, the log has to begin at its beginning. Behind one, other tools
    # may have cleaned it, but hardly of its first commit alone.
    if (sound_through < 0 or first == 1) and archived_through(table_path) < 0:
        first = 0
    present = set(known)
    # Looked at twice: a folder that others write into may be listed without its newest names, and a log
    # that is being cleaned up without its oldest.
    missing = [
        version
        for version in range(max(first, 0), newest + 1)
        if version not in present and not commit_file(table_path, version).exists()
    ]
    archived = archived_through(table_path) if missing else -1
    return [version for version in missing if version > archived]


def torn_hint(table_path: Path) -> LogDamage | None:
    """`_last_checkpoint` if it cannot be read or names a checkpoint that cannot: opening may fail on it."""
    path = table_path / "_delta_log" / "_last_checkpoint"
    try:
        version = int(json.loads(path.read_bytes())["version"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        version = -1
    there = any(can_be_read(found) for found in path.parent.glob(f"{version:020d}.checkpoint*.parquet"))
    return None if there else LogDamage("torn_checkpoint", max(version, 0), path)


def can_be_read(checkpoint: Path) -> bool:
    """Whether a log checkpoint has a whole footer: a torn one has not."""
    try:
        pq.read_metadata(checkpoint)
    except (OSError, pa.ArrowInvalid):
        return False
    return True
