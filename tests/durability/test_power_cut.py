"""After a power cut at any moment, nothing that the spool had acknowledged is missing."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.durability.conftest import Case, WriterDiedError, capture
from tests.durability.power_cut import CUTS, LINK, RENAME, WRITE, Call, Cut, Disk, put_back, read_journal

MOMENTS = int(os.environ.get("STRIKELAKE_POWER_CUTS", "6"))
"""Moments of each way to lose things; a thousand and a half is all there are, and takes half an hour."""

ACKNOWLEDGED = "acknowledged"
"""File to which a writer writes a line for each update that is spooled, between its other calls."""

State = dict[str, bytes | None]


@dataclass(frozen=True)
class Recording:
    """What writers did to their disk, and what they were asked."""

    case: Case
    calls: list[Call]

    def end(self, cut: Cut) -> State:
        """What a power cut leaves after the last call."""
        disk = Disk(self.case.folder)
        for call in self.calls:
            disk.follow(call)
        left = disk.after(cut)
        left.pop(ACKNOWLEDGED, None)
        return left

    def states(self, cut: Cut) -> Iterator[tuple[int, State, int]]:
        """After each call: its number, what a power cut then leaves, and updates acknowledged until then."""
        disk = Disk(self.case.folder)
        acknowledged = 0
        for number, call in enumerate(self.calls):
            disk.follow(call)
            if Path(call.path).name == ACKNOWLEDGED:
                acknowledged += call.kind == WRITE
                continue
            left = disk.after(cut, seed=number)
            left.pop(ACKNOWLEDGED, None)
            yield number, left, acknowledged

    def describe(self, number: int) -> str:
        call = self.calls[number]
        return f"cut after call {number}, kind {call.kind} of {Path(call.other or call.path).name}"


def record(workshop: Any, case: Case, journal: Path) -> Any:
    """A writer whose calls are journalled."""
    writer = workshop.writer(case)
    writer("keep_journal", str(journal), str(case.folder / ACKNOWLEDGED))
    writer("checkpoint_every", 3)
    return writer


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, shim_workshops: Any) -> Iterator[Recording]:
    """A writer that commits features and rejects too, adds columns, and writes log checkpoints."""
    folder = tmp_path_factory.mktemp("power")
    with shim_workshops(folder) as workshop:
        case = workshop.case(features=True, rejects=True)
        writer = record(workshop, case, folder / "journal")
        writer("open_tap", **case.settings())
        for _ in range(5):
            case.offer(writer, 2)
            assert writer("flush")
        case.offer(writer, 1)
        writer.kill()
        yield Recording(case, read_journal(folder / "journal"))


def test_no_call_escapes_the_shim(recording: Recording) -> None:
    """Following the journal gives what is on the disk, byte for byte."""
    followed = recording.end(CUTS["nothing is lost"])
    root = recording.case.folder
    found = {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
        if not path.name.endswith("-shm") and path.name != ACKNOWLEDGED
    }
    assert followed == found


@pytest.mark.parametrize("cut", CUTS)
def test_a_power_cut_at_any_moment_costs_nothing_acknowledged(
    recording: Recording, tmp_path: Path, cut: str
) -> None:
    """Moments are chosen among those that leave different disks, half of them right after a name appeared."""
    dice = random.Random(cut)  # noqa: S311 - any moments do, but the same ones in every run
    seen: set[tuple[int, frozenset[tuple[str, bytes | None]]]] = set()
    moments: dict[bool, list[tuple[int, State, int]]] = {True: [], False: []}
    for number, left, acknowledged in recording.states(CUTS[cut]):
        key = (acknowledged, frozenset(left.items()))
        if key not in seen:
            seen.add(key)
            named = recording.calls[number].kind in (LINK, RENAME)
            moments[named].append((number, left, acknowledged))
    chosen = [m for some in moments.values() for m in dice.sample(some, min(len(some), MOMENTS // 2))]
    problems = []
    for number, left, acknowledged in sorted(chosen, key=lambda moment: moment[0]):
        problem = recovery_problem(recording.case, left, list(range(acknowledged)), tmp_path / str(number))
        if problem:
            problems.append(f"{recording.describe(number)}: {problem}")
    assert not problems, "\n".join([f"{len(problems)} of {len(chosen)} moments", *problems])


@pytest.mark.parametrize(
    "boundary",
    ["table created", "tables there", "spool opened", "spooled", "columns added", "data file written",
     "folders synced", "committed", "commit synced", "log checkpoint written", "mirroring", "clearing"],
)  # fmt: skip
def test_what_a_killed_writer_left_unsynced_is_synced_by_the_next_before_it_counts(
    faulty: Any, tmp_path: Path, boundary: str
) -> None:
    """Killed at a step, restarted, all committed; then the power goes."""
    case = faulty.case(features=True, rejects=True)
    journal = tmp_path / "journal"
    dying = record(faulty, case, journal)
    dying("die_at", boundary, 1, str(tmp_path / "marker"))
    with pytest.raises(WriterDiedError):
        capture(case, dying)
    assert (tmp_path / "marker").read_text(encoding="utf-8") == boundary
    following = record(faulty, case, journal)
    following("open_tap", **case.settings())
    for _ in range(2):
        case.offer(following, 2)
        assert following("flush")
    following.kill()
    recording = Recording(case, read_journal(journal))
    problems, seen = [], []
    for name in ("unsynced files are empty", "unsynced files are cut in half", "unsynced names are lost"):
        left = recording.end(CUTS[name])
        if left not in seen:
            seen.append(left)
            problem = recovery_problem(case, left, case.acknowledged, tmp_path / f"left-{len(seen)}")
            problems += [f"{name}: {problem}"] if problem else []
    assert not problems, "\n".join(problems)


def recovery_problem(case: Case, left: State, acknowledged: list[int], folder: Path) -> str:
    """Put back what is left, start the real writer on it, and look; empty if nothing is wrong."""
    folder.mkdir()
    put_back(left, folder)
    after = Case(folder, case.features, case.rejects, offered=case.offered, acknowledged=list(acknowledged))
    try:
        after.finish()
        after.check()
    except Exception as error:  # noqa: BLE001 - all moments are tried, and all that is wrong is told
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
    return ""
