"""Metrics of the way from the app to the tables: spools and ledger, writer, catalog, disk, monitor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lake.app_queue import app_queue
from lake.process_lock import is_held
from lake.spool import Spool
from lake.table import Lake
from monitors.heartbeat import quiet_s, read_heartbeat
from monitors.metrics import LAKE, Sample
from monitors.probes import Moment, Probe, Surroundings

_GB = 1e9


def stream_probes() -> list[Probe]:
    """The probes of spools, writer, catalog, disk and monitor."""
    return [
        Probe("ledger", ("ledger_difference_rows", "dropped_rows"), _ledger),
        Probe("backlog", ("spooled_rows", "writer_lag_s"), _backlog),
        Probe("app queue", ("queue_used_pct",), _app_queue, of_lake=True),
        Probe("spool size", ("spool_used_pct",), _spool_size, of_lake=True),
        Probe("writer", ("writer_stopped",), _writer, of_lake=True),
        Probe("registry", ("registry_behind_commits",), _registry, of_lake=True),
        Probe("disk", ("disk_free_pct", "disk_free_gb"), _disk, of_lake=True),
        Probe("monitor", ("monitor_quiet_s",), _monitor, of_lake=True),
    ]


@contextmanager
def _spools(lake: Lake) -> Iterator[list[Spool]]:
    """Every spool, opened to look at only."""
    opened: list[Spool] = []
    try:
        for path in sorted(lake.spools.glob("*.db")):
            opened.append(Spool(path, read_only=True))  # noqa: PERF401 - closed even if a later one fails
        yield opened
    finally:
        for spool in opened:
            spool.close()


def _ledger(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    difference = dropped = 0
    lines = []
    with _spools(around.settings.lake) as spools:
        for spool in spools:
            for row in spool.ledger():
                if row.group == moment.exchange:
                    difference += abs(row.difference)
                    dropped += row.dropped
                    lines.append(
                        {
                            "app_id": spool.path.stem, "table": row.table, "offered": row.offered,
                            "spooled": row.spooled, "committed": row.committed,
                            "quarantined": row.quarantined, "dropped": row.dropped,
                            "difference": row.difference,
                        }
                    )  # fmt: skip
    facts = {"ledger": lines}
    return [
        Sample("ledger_difference_rows", moment.exchange, float(difference), facts=facts),
        Sample("dropped_rows", moment.exchange, float(dropped), facts=facts),
    ]


def _backlog(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    rows, lag_s = 0, 0.0
    waiting = []
    with _spools(around.settings.lake) as spools:
        for spool in spools:
            for one in spool.backlog():
                if one.group == moment.exchange:
                    age_s = around.now.timestamp() - one.oldest_us / 1e6
                    rows, lag_s = rows + one.rows, max(lag_s, age_s)
                    waiting.append({"app_id": spool.path.stem, "rows": one.rows, "oldest_s": round(age_s, 3)})
    facts = {"waiting": waiting}
    return [
        Sample("spooled_rows", moment.exchange, float(rows), facts=facts),
        Sample("writer_lag_s", moment.exchange, lag_s, facts=facts),
    ]


def _app_queue(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    """The fullest queue of an app that is heard; what one told before it died is no measurement."""
    with _spools(around.settings.lake) as spools:
        found = [one for one in map(app_queue, spools) if one is not None]
    known = {one.app_id: queue for one in found if (queue := one.known(around.now)) is not None}
    silent = sorted(one.app_id for one in found if one.runs and one.app_id not in known)
    facts: dict[str, Any] = {
        "queues": [
            {"app_id": app_id, "waiting": one.waiting, "highest": one.highest, "capacity": one.capacity}
            for app_id, one in known.items()
        ],
        "silent": silent,
    }
    if not known:
        why = f"{', '.join(silent)} does not tell of its queue" if silent else "no app runs that has a queue"
        return [Sample("queue_used_pct", moment.exchange, None, why=why, facts=facts)]
    fullest = max(known, key=lambda app_id: known[app_id].highest / known[app_id].capacity)
    queue = known[fullest]
    facts |= {"app_id": fullest, "highest": queue.highest, "capacity": queue.capacity}
    return [Sample("queue_used_pct", moment.exchange, 100.0 * queue.highest / queue.capacity, facts=facts)]


def _spool_size(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    limit = around.settings.raw_stream_spool_max_bytes
    with _spools(around.settings.lake) as spools:
        used = {spool.path.stem: spool.used_bytes() for spool in spools}
    most = max(used.values(), default=0)
    facts = {"used_bytes": used, "limit_bytes": limit}
    return [Sample("spool_used_pct", moment.exchange, 100.0 * most / limit, facts=facts)]


def _writer(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    """Whether somebody commits the app's spool; a lake that has none is filled by other means."""
    app_id, spools = around.settings.app_id, around.settings.lake.spools
    if not (spools / f"{app_id}.db").exists():
        why = f"there is no spool of app id {app_id}"
        return [Sample("writer_stopped", moment.exchange, None, why=why)]
    stopped = not is_held(spools / f"{app_id}.commit.lock")
    return [Sample("writer_stopped", moment.exchange, float(stopped), facts={"app_id": app_id})]


def _registry(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    from catalog.batches import behind

    found = behind(around.settings.lake, around.catalog())
    return [
        Sample(
            "registry_behind_commits", moment.exchange, float(max(0, newest - mirrored)), {"table": name},
            facts={"newest_version": newest, "mirrored_version": mirrored},
        )
        for name, (newest, mirrored) in found.items()
    ]  # fmt: skip


def _disk(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    folder = _existing(around.settings.root)
    total, free = around.disk_usage(folder)
    facts = {"folder": str(folder), "total_bytes": total, "free_bytes": free}
    return [
        Sample("disk_free_pct", moment.exchange, 100.0 * free / total, facts=facts),
        Sample("disk_free_gb", moment.exchange, free / _GB, facts=facts),
    ]


def _monitor(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    sign = read_heartbeat(around.settings.root)
    if sign is None:
        return [Sample("monitor_quiet_s", LAKE, None, why="this is the first check")]
    quiet = quiet_s(around.calendar, sign, around.now, around.exchanges)
    facts = {"last_check": sign.at.isoformat(), "next_by": sign.next_by.isoformat()}
    return [Sample("monitor_quiet_s", moment.exchange, quiet, facts=facts)]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: a lake may not be made yet."""
    for one in (folder.resolve(), *folder.resolve().parents):
        if one.is_dir():
            return one
    return Path()
