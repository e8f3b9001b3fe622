"""SIGKILL at every step of the way of a tick: what was acknowledged is in the table exactly once."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.durability.conftest import KILLED, WriterDiedError, capture

# Where writers die (see BOUNDARIES in writer.py), and at which passage: the first one's and the next one's.
TAP_STEPS = {
    "spool opened": (1,),
    "drained": (1, 3),
    "spooling": (1, 3),
    "spool transaction ending": (1, 3),
    "spooled": (1, 3),
}
COMMIT_STEPS = {
    "table created": (1, 1),
    "tables there": (1, 3),
    "columns added": (1, 2),
    "data file written": (1, 2),
    "folders synced": (1, 3),
    "committed": (1, 2),
    "commit synced": (1, 3),
    "log synced": (1, 2),
    "log checkpoint written": (1, 2),
    "log checkpoint synced": (1, 2),
    "mirroring": (1, 5),
    "mirrored": (1, 3),
    "clearing": (1, 2),
    "clear transaction ending": (1, 3),
    "cleared": (1, 2),
}
CONTENTS = {
    "one table": {},
    "two tables": {"features": True},
    "with rejects and signals": {"features": True, "rejects": True, "signals": True},
}
STEPS = TAP_STEPS | COMMIT_STEPS
MATRIX = [
    (boundary, committer, content)
    for boundary, committer, content in product(STEPS, ["thread", "process"], CONTENTS)
    # A table of fixed columns never gets any.
    if (boundary, content) != ("columns added", "one table")
]


@pytest.mark.parametrize(("boundary", "committer", "content"), MATRIX)
def test_a_writer_killed_at_a_step_loses_and_doubles_nothing(
    workshop: Any, boundary: str, committer: str, content: str
) -> None:
    """Killed, restarted, with rejects killed once more, then finished; each must really have died there."""
    case = workshop.case(**CONTENTS[content])
    first, *second = STEPS[boundary]
    kills = {
        "one table": [first],
        "two tables": second or [first],
        "with rejects and signals": [first, *second],
    }
    for occurrence in kills[content]:
        marker = case.folder / "marker"
        dying = workshop.writer(case)
        dying("checkpoint_every", 2)
        dying("die_at", boundary, occurrence, str(marker))
        if committer == "thread":
            with pytest.raises(WriterDiedError):
                capture(case, dying)
        elif boundary in TAP_STEPS:
            living = workshop.writer(case)
            with pytest.raises(WriterDiedError):
                capture(case, dying, living)
            if boundary != "spool opened":  # then the other has not opened anything yet
                living("commit")
            living.kill()
        else:
            living = workshop.writer(case)
            with pytest.raises(WriterDiedError):
                capture(case, living, dying)
            case.offer(living, 2)
            living.kill()
        assert dying.code == KILLED, dying.log_text()
        assert marker.read_text(encoding="utf-8") == boundary
        marker.unlink()
    case.finish()
    case.check()
