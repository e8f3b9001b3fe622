"""Keep what a check measured, as rows of `health_metrics`: the history that later checks compare with.

Trackers' summaries are kept beside it, by `monitors.paper_trading`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from catalog.contracts import HEALTH_METRICS, PAPER_TRADING_METRICS
from lake.append import append
from lake.commit_log import Commit
from lake.compaction import Finished
from lake.errors import CommitConflictError
from lake.log_cleanup import delete_data_file
from lake.log_recovery import recover_log
from lake.maintenance import maintain
from lake.orphans import Verdict, find_orphans
from lake.table import Lake, open_table
from monitors.evidence import Recorded
from monitors.metrics import METRICS, Sample
from monitors.probes import Measured

STREAM = "monitors/health_metrics"
APP_ID = "monitors"

_OWN = (HEALTH_METRICS, PAPER_TRADING_METRICS)
OWN_TABLES = tuple(contract.table for contract in _OWN)
"""What health checks write, and look after."""

_TRIES = 5
_UNDER_WAY_S = 600.0  # a check takes seconds


def record(lake: Lake, measured: Measured) -> Recorded:
    """Append the samples of one check as one commit.

    Raises:
        CommitConflictError: Other checks were faster, again and again.
        DamagedTableError: The table cannot be read or written.
        OSError: The disk is full or failing.
    """
    spec = HEALTH_METRICS.spec
    path = lake.create(spec)
    recover_log(lake, path, spec=spec)
    for _ in range(_TRIES):
        handle = open_table(path)
        # The clock may be set back; sequences may not.
        sequence = max((handle.transaction_version(STREAM) or 0) + 1, time.time_ns() // 1000)
        batch_id = f"health-{sequence:016d}"
        note = {"batch_id": batch_id, "app_id": APP_ID, "seq_first": sequence, "seq_last": sequence}
        try:
            commit: Commit | None = append(
                path, spec, _rows(measured.samples, measured, batch_id), stream=STREAM, sequence=sequence,
                metadata=note, handle=handle,
            )  # fmt: skip
        except CommitConflictError:
            continue
        if commit is not None:
            return Recorded(commit.version, batch_id)
    raise CommitConflictError("other health checks record their measurements all the time")


def look_after(lake: Lake, finished: Finished, *, now: datetime | None = None) -> None:
    """Compact what finished days left in small files, and delete what killed checks left uncommitted.

    The measurements of a check that was killed before its commit are given up: nobody was told of them.

    Raises:
        StreamInUseError: Another process is maintaining the tables, and does the same.
        DamagedTableError: A table cannot be read.
        SpoolUnavailableError: A spool cannot be read, so that nothing can be judged.
    """
    tables = lake.tables()
    specs = {contract.table: contract.spec for contract in _OWN if contract.table in tables}
    if not specs:
        return
    maintain(lake, specs, finished, now=now)
    for name in specs:
        for orphan in find_orphans(lake, tables[name], older_than_s=time.time() - _UNDER_WAY_S):
            if orphan.verdict is Verdict.UNKNOWN and orphan.note.get("app_id") == APP_ID:
                delete_data_file(tables[name] / orphan.path)


def _rows(samples: Sequence[Sample], measured: Measured, batch_id: str) -> pa.Table:
    rows = []
    for sample in samples:
        moment = measured.moments[sample.exchange]
        rows.append(
            {
                "date": moment.date,
                "exchange": sample.exchange,
                "event_time": moment.now.astimezone(UTC),
                "metric": sample.metric,
                "labels": sample.label_text,
                "value": sample.value,
                "unit": METRICS[sample.metric].unit,
                "note": sample.why or None,
                "batch_id": batch_id,
            }
        )
    return pa.Table.from_pylist(rows, schema=HEALTH_METRICS.schema)
