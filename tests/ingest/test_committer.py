"""Whatever dies whenever: what was spooled is in the table exactly once."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from catalog.contracts import CONTRACTS
from catalog.reference import ReferenceData
from ingest import committer as committer_module
from ingest.committer import Committer
from ingest.convert import convert
from ingest.events import ChainUpdate
from lake.append import append
from lake.errors import StreamInUseError, StrikelakeError
from lake.spool import Spool


def put(lake: Any, reference: ReferenceData, *updates: dict[str, Any]) -> None:
    """Spool each update as an entry of its own."""
    spool = Spool(lake.spool())
    try:
        for given in updates:
            update = ChainUpdate(**{"event_time": None, "received_ns": 1_795_154_400_000_000_000, **given})
            done = convert([update], reference)
            spool.put(done.entries, offered=done.offered)
    finally:
        spool.close()


def mirrored_rows(lake: Any) -> int:
    db = sqlite3.connect(lake.settings.root / "catalog.db")
    try:
        query = (
            "SELECT COALESCE(SUM(record_count), 0) FROM ml_feature_batches WHERE table_name = 'option_chain'"
        )
        return int(db.execute(query).fetchone()[0])
    finally:
        db.close()


def test_a_commit_that_was_not_cleared_before_a_crash_is_not_written_again(
    lake: Any, reference: ReferenceData, caplog: pytest.LogCaptureFixture
) -> None:
    put(lake, reference, lake.update(1, 5), lake.update(6, 5))
    Committer(lake.settings).close()
    spool = Spool(lake.spool())
    waiting = spool.waiting("option_chain", limit_rows=5)
    assert waiting is not None
    rows = waiting.rows.append_column("batch_id", [["by-hand"] * 5])
    contract = CONTRACTS["option_chain"]
    landed = append(
        lake.settings.lake.path("option_chain"), contract.spec, rows,
        stream=spool.stream, sequence=waiting.last, metadata={"batch_id": "by-hand"},
    )  # fmt: skip
    spool.close()
    assert landed is not None
    assert lake.totals()["spooled"] == 10

    one = Committer(lake.settings)
    with caplog.at_level(logging.WARNING):
        assert one.flush().rows == {"option_chain": 5}
        assert one.flush().rows == {}
    one.close()
    assert "resumed after a commit" in caplog.text
    assert lake.strikes() == [float(i) for i in range(1, 11)]
    assert lake.totals() == {"offered": 10, "spooled": 0, "committed": 10, "quarantined": 0,
                             "dropped": 0, "difference": 0}  # fmt: skip
    assert mirrored_rows(lake) == 10


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_a_commit_that_was_never_synced_is_synced_before_its_entries_are_forgotten(
    lake: Any, reference: ReferenceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, reference, lake.update(1, 5))
    Committer(lake.settings).close()
    spool = Spool(lake.spool())
    waiting = spool.waiting("option_chain")
    assert waiting is not None
    path = lake.settings.lake.path("option_chain")
    landed = append(
        path, CONTRACTS["option_chain"].spec, waiting.rows.append_column("batch_id", [["by-hand"] * 5]),
        stream=spool.stream, sequence=waiting.last, metadata={"batch_id": "by-hand"},
    )  # fmt: skip
    spool.close()
    assert landed is not None
    synced: dict[Path, int] = {}
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        fsync(descriptor)
        synced.setdefault(Path(f"/proc/self/fd/{descriptor}").readlink(), lake.totals()["spooled"])

    monkeypatch.setattr(os, "fsync", recording)
    one = Committer(lake.settings)
    one.flush()
    one.close()
    log = (path / "_delta_log").resolve()
    assert synced[log / f"{landed.version:020d}.json"] == 5, "the entries were still there"
    assert synced[log] == 5
    assert lake.totals()["spooled"] == 0


WRITER = """
    import sys
    from ingest.tap import StreamTap
    from lake.settings import Settings
    first = int(sys.argv[2])
    tap = StreamTap(Settings(root=sys.argv[1], raw_stream_spool_seconds=0.005, raw_stream_flush_seconds=0.02))
    offered = 0
    while True:
        offered += 1
        tap.offer("NSE", [{"strike": first + offered}], [], symbol="NIFTY", expiry="2026-12-29")
        while tap.stats().queued > 3:
            pass
        print(tap.stats().spooled, flush=True)
"""


def test_a_writer_killed_again_and_again_loses_and_doubles_nothing(lake: Any) -> None:
    moments = random.Random(7)  # noqa: S311 - any moments do, but the same ones in every run
    sure: set[float] = set()
    for run in range(3):
        first = run * 1_000_000
        app = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(lake.settings.root), str(first)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert app.stdout is not None
        spooled = 0
        wanted = moments.randrange(1, 120)
        for line in app.stdout:
            spooled = int(line)
            if spooled >= wanted:
                break
        app.kill()
        app.stdout.close()
        app.wait()
        assert spooled >= wanted
        sure |= {float(first + i) for i in range(1, spooled + 1)}

    last = Committer(lake.settings)
    last.flush()
    last.close()
    counts = Counter(row["strike"] for row in lake.rows())
    assert set(counts.values()) == {1}
    assert sure <= set(counts)
    totals = lake.totals()
    assert totals["committed"] == totals["offered"] == len(counts)
    assert totals["spooled"] == totals["difference"] == 0
    for run in range(3):
        mine = sorted(strike for strike in counts if run * 1_000_000 < strike < (run + 1) * 1_000_000)
        assert mine == [run * 1_000_000.0 + i for i in range(1, len(mine) + 1)]
    assert mirrored_rows(lake) == len(counts)


def test_an_unreachable_catalog_delays_the_mirror_and_nothing_else(
    lake: Any, reference: ReferenceData
) -> None:
    blocked = lake.settings.root / "catalog.db"
    blocked.mkdir(parents=True)
    one = Committer(lake.settings)
    put(lake, reference, lake.update(1, 3))
    result = one.flush()
    assert (result.rows, result.mirrored) == ({"option_chain": 3}, False)
    assert lake.strikes() == [1.0, 2.0, 3.0]
    assert lake.totals()["committed"] == 3
    blocked.rmdir()
    assert one.flush().mirrored
    one.close()
    assert mirrored_rows(lake) == 3


def test_a_catalog_url_that_names_no_database_holds_up_no_commit(
    lake: Any, reference: ReferenceData, caplog: pytest.LogCaptureFixture
) -> None:
    one = Committer(lake.but(catalog_url="nosuchdb://host/x"))
    for strike in (1, 2):
        put(lake, reference, lake.update(strike))
        result = one.flush()
        assert (result.rows, result.mirrored) == ({"option_chain": 1}, False)
    one.close()
    assert lake.totals()["committed"] == 2
    assert any("catalog_url" in str(vars(record).get("error")) for record in caplog.records)


def test_a_micro_batch_has_at_most_so_many_rows(
    lake: Any, reference: ReferenceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "MICRO_BATCH_ROWS", 100)
    put(lake, reference, *[lake.update(1 + 40 * i, 40) for i in range(10)], lake.update(401, 150))
    one = Committer(lake.settings)
    reported: list[int] = []
    result = one.flush(progress=reported.append)
    one.close()
    sizes = Counter(row["batch_id"] for row in lake.rows())
    # 40 + 40 rows fit; the entry that is larger by itself goes alone.
    assert [size for _, size in sorted(sizes.items())] == reported == [80] * 5 + [150]
    assert result.rows == {"option_chain": 550}
    assert lake.strikes() == [float(i) for i in range(1, 551)]


def test_a_micro_batch_has_at_most_so_many_bytes(
    lake: Any, reference: ReferenceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "MICRO_BATCH_BYTES", 1)
    put(lake, reference, *[lake.update(1 + i) for i in range(3)])
    one = Committer(lake.settings)
    assert len(one.flush().versions["option_chain"]) == 3
    one.close()
    assert lake.strikes() == [1.0, 2.0, 3.0]


def test_feature_names_that_differ_in_case_only_share_a_column(lake: Any, reference: ReferenceData) -> None:
    one = Committer(lake.settings)
    put(lake, reference, lake.update(1, 0, features={"Rsi": 1.0}), lake.update(1, 0, features={"RSI": 2.0}))
    one.flush()
    put(lake, reference, lake.update(1, 0, features={"rsi": 3.0, "ema": 4.0}))
    one.flush()
    one.close()
    rows = lake.rows("ml_features")
    names = [name for name in rows[0] if name.casefold() == "rsi"]
    assert len(names) == 1
    assert sorted(row[names[0]] for row in rows) == [1.0, 2.0, 3.0]
    assert sorted(row["ema"] or 0.0 for row in rows) == [0.0, 0.0, 4.0]


def test_a_spool_has_one_committer_at_a_time(lake: Any) -> None:
    one = Committer(lake.settings)
    with pytest.raises(StreamInUseError, match="committer of app id 'live'"):
        Committer(lake.settings)
    one.close()
    Committer(lake.settings).close()


def test_a_table_that_cannot_be_written_holds_up_no_other(lake: Any, reference: ReferenceData) -> None:
    one = Committer(lake.settings)
    put(lake, reference, lake.update(1, 2, features={"f": 1.0}), lake.update(3, calls=[{"strike": -1}]))
    features: Path = lake.settings.lake.raw_stream / "ml_features"
    (features / "date=2026-11-20").write_text("in the way", encoding="utf-8")
    with pytest.raises((StrikelakeError, OSError)):
        one.flush()
    assert lake.totals() == {"offered": 3, "spooled": 0, "committed": 2, "quarantined": 1,
                             "dropped": 0, "difference": 0}  # fmt: skip
    (features / "date=2026-11-20").unlink()
    assert one.flush().rows == {"ml_features": 1}
    one.close()
    assert lake.totals("ml_features")["committed"] == 1


def test_every_row_names_the_micro_batch_that_the_commit_and_the_catalog_name(
    lake: Any, reference: ReferenceData
) -> None:
    put(lake, reference, lake.update(1, 2), lake.update(3, 1, exchange="BSE", symbol="SENSEX"))
    one = Committer(lake.settings)
    one.flush()
    one.close()
    db = sqlite3.connect(lake.settings.root / "catalog.db")
    known = dict(db.execute("SELECT exchange, batch_id FROM ml_feature_batches"))
    db.close()
    assert set(known) == {"NSE", "BSE"}
    assert {(row["exchange"], row["batch_id"]) for row in lake.rows()} == set(known.items())


def test_a_commit_that_is_cut_while_the_writer_runs_is_mended_and_no_row_is_lost(
    lake: Any, reference: ReferenceData
) -> None:
    one = Committer(lake.settings)
    for first in (1, 11, 21):
        put(lake, reference, lake.update(first, 10))
        one.flush()
    log = lake.settings.lake.path("option_chain") / "_delta_log"
    newest = max(log.glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:150])
    put(lake, reference, lake.update(31, 10))
    assert one.flush().rows == {"option_chain": 10}
    one.close()
    assert lake.strikes() == [float(i) for i in range(1, 41)]


def test_a_table_whose_creation_was_cut_is_made_again(lake: Any, reference: ReferenceData) -> None:
    Committer(lake.settings).close()
    log = lake.settings.lake.path("option_chain") / "_delta_log"
    (log / f"{0:020d}.json").write_bytes(b"")
    put(lake, reference, lake.update(1, 3))
    one = Committer(lake.settings)
    one.flush()
    one.close()
    assert lake.strikes() == [1.0, 2.0, 3.0]
