"""`attribution_drift.json`: what the view of that name says of one model, as a file that monitors read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from explain.model_folder import ModelInfo
from lake.durability import replace_durably
from lake.session import Session

FILE = "attribution_drift.json"

FORMAT = 1
"""Raised when a reader of an older format would misread the file."""

COLUMNS = (
    "feature", "class", "training_mean", "recent_mean", "difference", "standard_error",
    "difference_in_standard_errors", "degrees_of_freedom", "training_share", "recent_share",
    "training_rank", "recent_rank",
)  # fmt: skip
"""Of every row, as in the view `attribution_drift`, which says what they mean."""

_SESSIONS = """
SELECT sample, date, max(row_count) AS row_count
FROM attribution
WHERE exchange = $exchange AND model_version = $model_version
GROUP BY sample, date
ORDER BY date
"""
_ROWS = f"""
SELECT {", ".join(COLUMNS)}
FROM attribution_drift
WHERE exchange = $exchange AND model_version = $model_version AND sessions = $sessions
ORDER BY abs(difference_in_standard_errors) DESC NULLS LAST, abs(difference) DESC, feature, class
"""


def drift_report(
    session: Session, info: ModelInfo, *, sessions: int, now: datetime | None = None
) -> dict[str, Any]:
    """What has moved over the last sessions, JSON-serialisable.

    Args:
        session: With the table `attribution`, see `explain.attribution_drift.record`.
        info: The model.
        sessions: How many of the newest sessions to compare with the training set; fewer if there are fewer.
        now: The moment it is.

    Returns:
        As `explain/schemas/attribution_drift.schema.json` says:
        `format` (1), `exchange`, `model_version`, `dataset` (its name), `made_at` (ISO 8601, UTC),
        `training_sessions` and `recent_sessions` (each a list of `date` and `row_count`, the rows explained),
        `enough` (whether differences could be set against the spread of sessions), `why_not` (null if so) and
        `rows`: a list of objects of `COLUMNS`, largest difference in standard errors first, nulls last. A
        number that cannot be told is null. Without a session after training `rows` is empty.
    """
    given = {"exchange": info.exchange, "model_version": info.model_version}
    known = session.table(_SESSIONS, given).to_pylist()
    sides: dict[str, list[dict[str, Any]]] = {"training": [], "session": []}
    for row in known:
        sides[row["sample"]].append({"date": str(row["date"]), "row_count": row["row_count"]})
    recent = sides["session"][-sessions:]
    rows = session.table(_ROWS, given | {"sessions": len(recent)}).to_pylist()
    why_not = None
    if not recent:
        why_not = "no finished session after the training set has been recorded yet"
    elif all(row["standard_error"] is None for row in rows):
        why_not = (
            f"the training set has {len(sides['training'])} session(s): how much sessions differ from one "
            "another cannot be told from fewer than three"
        )
    return {
        "format": FORMAT,
        **given,
        "dataset": info.dataset["name"],
        "made_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "training_sessions": sides["training"],
        "recent_sessions": recent,
        "enough": why_not is None,
        "why_not": why_not,
        "rows": rows,
    }


def write_report(report: dict[str, Any], folder: Path) -> Path:
    """Put the report into a folder in place of the one that is there; whole, or the old one stays.

    Raises:
        OSError: The disk is full or failed.
    """
    file = folder / FILE
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_durably(file, text.encode())
    return file
