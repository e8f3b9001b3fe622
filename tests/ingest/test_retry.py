"""Quarantine keeps its rows whole, and they come in exactly once when what kept them out is fixed."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from small_files import live_csv, write_lots

from catalog.contracts import QUARANTINE
from catalog.doctor import examine
from catalog.quarantine_store import QuarantineStore, delete_needless, examine_store
from catalog.reference import ReferenceData
from catalog.upkeep import SPECS, maintain_lake
from ingest.backfill_stream import BackfillStream
from ingest.committer import Committer
from ingest.convert import Converted, convert
from ingest.events import ChainUpdate
from ingest.load import load
from ingest.rejects import Rejects, Selection
from ingest.retry import retry
from ingest.sources import ADAPTERS
from ingest.sources.recorded_file import KEPT_WHOLE_BYTES
from ingest.tap import StreamTap
from lake.compaction import compact
from lake.drop import drop_partitions
from lake.errors import StreamInUseError
from lake.spool import Entry, Spool
from lake.table import TableSpec

NOW_NS = int(datetime(2026, 11, 20, 6, 0, tzinfo=UTC).timestamp()) * 1_000_000_000
EXPIRY = "2026-12-29"


def offered(*legs: dict[str, Any], **more: Any) -> ChainUpdate:
    given = {"exchange": "NSE", "symbol": "NIFTY", "event_time": None, "received_ns": NOW_NS, "calls": legs}
    return ChainUpdate(**{**given, "expiry": EXPIRY, **more})


def put(lake: Any, converted: Converted, change: Callable[[str], str] = str) -> None:
    """Spool and commit as a live app does; `change` makes payloads what an earlier, stricter version kept."""
    entries = []
    for entry in converted.entries:
        batch = entry.batch
        if entry.table == "quarantine":
            at = batch.schema.get_field_index("payload")
            changed = [change(text) for text in batch.column("payload").to_pylist()]
            batch = batch.set_column(at, batch.schema.field(at), pa.array(changed, pa.string()))
        entries.append(Entry(entry.table, entry.group, entry.origin, batch))
    committer = Committer(lake.settings)
    spool = Spool(lake.spool())
    store = QuarantineStore(lake.settings.lake)
    for file in converted.files:
        store.keep(file)
    spool.put(entries, offered=converted.offered)
    spool.close()
    committer.flush()
    committer.close()


def of_quarantine(lake: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.rows("quarantine")
    return rows


def attempts(lake: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.rows("quarantine_retries")
    return rows


def test_a_leg_that_an_app_offered_comes_in_with_its_own_times_and_source(
    lake: Any, reference: ReferenceData
) -> None:
    legs = [{"strike": 26000.0, "ltp": 1.5, "oi": 75}, {"strike": 26100.0, "ltp": -1.0, "oi": Decimal(150)}]
    update = offered(*legs, context={"underlying_price": 26012.5, "vix": 13.25}, source="tracker")
    put(lake, convert([update], reference), lambda text: text.replace("-1.0", "1.0"))
    assert retry(lake.settings).accepted == 1
    first, second = sorted(lake.rows(), key=lambda row: row["strike"])
    assert second["oi"] == 150
    differing = {"strike", "ltp", "oi", "batch_id"}
    assert {k: v for k, v in first.items() if k not in differing} == {
        k: v for k, v in second.items() if k not in differing
    }
    assert second["batch_id"].startswith("backfill-")


def test_puts_stay_puts_and_a_leg_on_the_wrong_side_stays_out(lake: Any, reference: ReferenceData) -> None:
    update = offered(puts=[{"strike": 1.0, "ltp": -1.0}, {"strike": 2.0, "ltp": 1.0, "option_type": "CE"}])
    put(lake, convert([update], reference), lambda text: text.replace("-1.0", "1.0"))
    done = retry(lake.settings)
    assert (done.accepted, done.failed) == (1, {"bad_option_type": 1})
    assert [(row["strike"], row["option_type"]) for row in lake.rows()] == [(1.0, "PE")]


def test_features_and_signals_come_in_too(lake: Any, reference: ReferenceData) -> None:
    signal = {
        "signal": "BUY", "confidence": -0.5, "model_version": "v1", "narrative": "n",
        "probabilities": {"BUY": 0.5, "HOLD": 0.25, "SELL": 0.25}, "top_features": [],
    }  # fmt: skip
    converted = convert([offered(features={"rsi": "fifty"}, signal=signal)], reference)
    assert sorted(converted.rejects.values()) == [1, 1]
    put(lake, converted, lambda text: text.replace('"fifty"', "50").replace("-0.5", "0.5"))
    assert retry(lake.settings).rows == {"ml_features": 1, "signals": 1}
    assert lake.rows("ml_features")[0]["rsi"] == 50.0
    signals = DeltaTable(str(lake.settings.root / "derived" / "signals")).to_pyarrow_table().to_pylist()
    assert [row["confidence"] for row in signals] == [0.5]


def test_what_is_no_data_stays_with_its_reason(lake: Any, reference: ReferenceData) -> None:
    put(lake, convert([offered(calls=[{"strike": 1.0}, "a text", 7]), offered(calls=3)], reference))
    done = retry(lake.settings)
    assert done.failed == {"not_a_leg": 2, "not_a_chain": 1}
    assert len(lake.rows()) == 1


def test_the_same_exchange_and_symbol_are_judged_again(lake: Any, reference: ReferenceData) -> None:
    put(
        lake,
        convert([offered({"strike": 1.0}, exchange="MCX"), offered({"strike": 2.0}, symbol="")], reference),
    )
    assert retry(lake.settings).failed == {"unknown_exchange": 1, "bad_symbol": 1}


def test_a_retry_that_fails_is_noted_and_changes_nothing_else(lake: Any, reference: ReferenceData) -> None:
    put(lake, convert([offered({"strike": -1.0})], reference))
    before = of_quarantine(lake)
    for number in (1, 2):
        assert retry(lake.settings).failed == {"contract": 1}
        assert len(attempts(lake)) == number
    assert of_quarantine(lake) == before
    assert {(row["outcome"], row["reason"], row["row_count"]) for row in attempts(lake)} == {
        ("failed", "contract", 0)
    }
    assert {row["reject_id"] for row in attempts(lake)} == {before[0]["reject_id"]}
    assert len({row["retried_time"] for row in attempts(lake)}) == 2


def test_the_books_balance_before_and_after(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=2, strikes=3, symbol="NEWINDEX")
    load(lake.settings, ADAPTERS["nse-live-csv"], [path])
    legs = 12
    before = lake.totals(app_id="backfill")
    assert (before["offered"], before["quarantined"], before["difference"]) == (legs, legs, 0)
    write_lots(lake.settings.root, "NEWINDEX", 60)
    assert retry(lake.settings).accepted == legs
    after = lake.totals(app_id="backfill")
    assert after == {"offered": 2 * legs, "spooled": 0, "committed": legs, "quarantined": legs,
                     "dropped": 0, "difference": 0}  # fmt: skip
    notes = lake.totals("quarantine_retries", app_id="backfill")
    assert (notes["offered"], notes["committed"], notes["difference"]) == (legs, legs, 0)
    assert examine(lake.settings.lake, lake.settings.catalog, finished=lambda _: False) == []


def test_a_dry_run_changes_no_file(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=2, strikes=3, symbol="NEWINDEX")
    load(lake.settings, ADAPTERS["nse-live-csv"], [path])
    write_lots(lake.settings.root, "NEWINDEX", 60)

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(file): (file.stat().st_size, file.stat().st_mtime_ns)
            for file in sorted(lake.settings.root.rglob("*"))
            # SQLite writes what a reader needs, beside a file that it does not change.
            if file.is_file() and not file.name.endswith(("-shm", "-wal"))
        }

    before = state()
    done = retry(lake.settings, dry_run=True)
    assert (done.tried, done.accepted, done.rows) == (12, 12, {"option_chain": 12})
    assert state() == before


def test_a_payload_of_any_length_is_kept_whole_and_comes_in(lake: Any, reference: ReferenceData) -> None:
    text = "x" * 3_000_000 + "\N{SNOWMAN}\ud800"
    put(lake, convert([offered({"strike": 26000.0, "ltp": "-1.0", "remark": text})], reference))
    (row,) = of_quarantine(lake)
    assert len(row["payload"]) < 80_000
    assert json.loads(row["payload"])["chars"] > 3_000_000
    content = gzip.decompress((lake.settings.root / "quarantine" / row["stored"]).read_bytes())
    assert row["stored"] == f"{hashlib.sha256(content).hexdigest()}.json.gz"
    assert json.loads(json.loads(content)["payload"])["remark"] == text
    assert retry(lake.settings).failed == {"contract": 1}
    # Damage is told, and does not stop the others.
    (lake.settings.root / "quarantine" / row["stored"]).write_bytes(b"damaged")
    assert retry(lake.settings).failed == {"unreadable_quarantine": 1}
    (lake.settings.root / "quarantine" / row["stored"]).unlink()
    assert retry(lake.settings).failed == {"unreadable_quarantine": 1}


def test_a_long_leg_comes_in_from_its_file(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=1, strikes=1, symbol="NEWINDEX", more="y" * 100_000)
    load(lake.settings, ADAPTERS["nse-live-csv"], [path])
    assert all(row["stored"].endswith(".json.gz") for row in of_quarantine(lake))
    write_lots(lake.settings.root, "NEWINDEX", 60)
    assert retry(lake.settings).accepted == 2
    assert len(lake.rows()) == 2


def test_the_same_long_payload_is_one_file(lake: Any, reference: ReferenceData) -> None:
    leg = {"strike": -1.0, "remark": "x" * 100_000}
    put(lake, convert([offered(leg, leg)], reference))
    assert len(of_quarantine(lake)) == 2
    assert len(list((lake.settings.root / "quarantine").iterdir())) == 1


def test_a_large_file_is_known_by_path_and_digest(lake: Any, tmp_path: Path) -> None:
    import random

    path = tmp_path / "large.json"
    path.write_bytes(b"[" + random.Random(1).randbytes(2 * KEPT_WHOLE_BYTES).hex().encode())  # noqa: S311
    load(lake.settings, ADAPTERS["nse-json"], [path])
    (row,) = of_quarantine(lake)
    assert row["stored"] is None
    assert not (lake.settings.root / "quarantine").exists()
    assert retry(lake.settings).failed == {"malformed_json": 1}
    with path.open("ab") as file:
        file.write(b"]")
    changed = retry(lake.settings)
    assert changed.failed == {"file_not_at_hand": 1}
    assert "another file now" in changed.examples["file_not_at_hand"][1]
    path.unlink()
    assert "is gone" in retry(lake.settings).examples["file_not_at_hand"][1]


def old_contract() -> TableSpec:
    """The table as lakes of earlier versions have it."""
    columns = [field for field in QUARANTINE.schema if field.name not in {"reject_id", "origin", "stored"}]
    return replace(QUARANTINE.spec, schema=pa.schema(columns))


def old_entries(converted: Converted) -> list[Entry]:
    names = ["reject_id", "origin", "stored"]
    return [
        Entry(e.table, e.group, e.origin, e.batch.drop_columns(names) if e.table == "quarantine" else e.batch)
        for e in converted.entries
    ]


def test_a_lake_of_an_earlier_version_goes_on(lake: Any, reference: ReferenceData) -> None:
    lake.settings.lake.create(old_contract())
    spool = Spool(lake.spool())
    # What an earlier version left in its spool, two equal rows among it.
    old = convert([offered({"strike": -1.0}, {"strike": -1.0}, {"strike": 26000.0})], reference)
    spool.put(old_entries(old), offered=old.offered)
    committer = Committer(lake.settings)
    committer.flush()
    with Rejects(lake.settings.lake) as rejects:
        (group,) = rejects.groups(Selection(), closed=False)
        assert (group["row_count"], group["not_retriable"]) == (2, 2)
        assert rejects.one(group["example"])["reason"] == "contract"
    assert retry(lake.settings).not_retriable == 2
    assert retry(lake.settings).tried == 0
    new = convert([offered({"strike": -2.0})], reference)
    spool.put([*old_entries(old), *new.entries], offered=old.offered)
    spool.close()
    committer.flush()
    committer.close()
    assert len(of_quarantine(lake)) == 5
    assert [row["reject_id"] is None for row in of_quarantine(lake)].count(False) == 1
    # Old files and new ones become one.
    table = lake.settings.root / "raw_stream" / "quarantine"
    assert [done.files_after for done in compact(table, SPECS["quarantine"], lambda _: True)] == [1]
    with Rejects(lake.settings.lake) as rejects:
        (group,) = rejects.groups(Selection(), closed=False)
        assert (group["row_count"], group["not_retriable"]) == (5, 4)
    done = retry(lake.settings)
    assert (done.tried, done.failed, done.not_retriable) == (1, {"contract": 1}, 4)


def test_files_that_no_row_names_go_and_a_lost_one_is_found(
    lake: Any, reference: ReferenceData, tmp_path: Path
) -> None:
    put(lake, convert([offered({"strike": -1.0, "remark": "x" * 100_000})], reference))
    load(lake.settings, ADAPTERS["nse-json"], [_written(tmp_path / "page.json", b"<html>")])
    store = QuarantineStore(lake.settings.lake)
    kept = store.names()
    assert len(kept) == 2
    orphan = store.folder / f"{'0' * 64}.json.gz"
    orphan.write_bytes(b"left by a crash")
    soon = datetime.now(UTC).timestamp() + 60
    assert delete_needless(lake.settings.lake, older_than_s=0) == (0, 0)
    assert delete_needless(lake.settings.lake, older_than_s=soon) == (1, len(b"left by a crash"))
    assert store.names() == kept
    assert list(examine_store(lake.settings.lake)) == []
    gone = store.folder / min(kept)
    content = gone.read_bytes()
    gone.unlink()
    (finding,) = examine(lake.settings.lake, lake.settings.catalog, finished=lambda _: False)
    assert (finding.kind, finding.subject) == ("quarantine_file_missing", f"quarantine/{gone.name}")
    gone.write_bytes(content)
    # Once the session is dropped, its files are needless.
    drop_partitions(lake.settings.root / "raw_stream" / "quarantine", lambda _: True)
    tomorrow = datetime.now(UTC) + timedelta(days=1, seconds=60)
    done = {d.table: d for d in maintain_lake(lake.settings.lake, reference.calendar, now=tomorrow)}
    assert done["quarantine"].deleted_files >= 2
    assert store.names() == set()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_notes_that_were_lost_bring_nothing_in_again(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=1, strikes=3, symbol="NEWINDEX")
    load(lake.settings, ADAPTERS["nse-live-csv"], [path])
    write_lots(lake.settings.root, "NEWINDEX", 60)
    assert retry(lake.settings).accepted == 6
    drop_partitions(lake.settings.root / "raw_stream" / "quarantine_retries", lambda _: True)
    done = retry(lake.settings)
    assert (done.tried, done.accepted, done.loaded) == (6, 0, 6)
    assert retry(lake.settings).tried == 0
    assert len(lake.rows()) == 6


def test_an_interrupted_retry_goes_on_with_the_next(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=4, strikes=3, symbol="NEWINDEX")
    load(lake.settings, ADAPTERS["nse-live-csv"], [path])
    write_lots(lake.settings.root, "NEWINDEX", 60)
    tried = 0

    def interrupted(rows: int) -> None:
        nonlocal tried
        tried += rows
        if tried >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry(lake.settings, started=lambda _: interrupted)
    before = len(lake.rows())
    assert retry(lake.settings).accepted == 24 - before
    assert (
        len(lake.rows()) == len({(r["event_time"], r["strike"], r["option_type"]) for r in lake.rows()}) == 24
    )


def test_a_load_that_runs_holds_a_retry_off(lake: Any, reference: ReferenceData) -> None:
    put(lake, convert([offered({"strike": -1.0})], reference))
    with BackfillStream(lake.settings), pytest.raises(StreamInUseError):
        retry(lake.settings)


def test_a_live_app_keeps_a_payload_of_any_length_whole(lake: Any) -> None:
    text = "x" * 300_000
    tap = StreamTap(lake.settings)
    tap.offer(**{**lake.update(1), "calls": [{"strike": -1.0, "remark": text}]})
    assert tap.close(60)
    (row,) = of_quarantine(lake)
    payload, _ = QuarantineStore(lake.settings.lake).read_record(row["stored"])
    assert json.loads(payload)["remark"] == text
    assert lake.totals()["difference"] == 0


def test_rejects_that_are_spooled_and_not_committed_are_listed(lake: Any, reference: ReferenceData) -> None:
    put(lake, convert([offered({"strike": -1.0})], reference))
    converted = convert([offered({"strike": -2.0})], reference)
    spool = Spool(lake.spool())
    spool.put(converted.entries, offered=converted.offered)
    spool.close()
    with Rejects(lake.settings.lake) as rejects:
        (group,) = rejects.groups(Selection(), closed=False)
    assert group["row_count"] == 2


MANY = """
import resource, sys
from pathlib import Path
from ingest.load import load
from ingest.retry import retry
from ingest.sources import ADAPTERS
from lake.settings import Settings
sys.path.insert(0, sys.argv[3])
from small_files import write_lots
settings = Settings(root=sys.argv[1])
summary = load(settings, ADAPTERS["nse-live-csv"], [Path(sys.argv[2])])
write_lots(settings.root, "NEWINDEX", 60)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = retry(settings)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(summary.quarantined.values()), done.accepted, after - before, after)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the module resource")
def test_a_hundred_thousand_rejects_come_in_within_bounded_memory(lake: Any, tmp_path: Path) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=250, strikes=200, symbol="NEWINDEX")
    servers = str(Path(__file__).parents[1] / "servers")
    command = [sys.executable, "-c", MANY, str(lake.settings.root), str(path), servers]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    rejected, accepted, grown_kb, _ = map(int, told.stdout.split())
    assert rejected == accepted == 100_000
    assert grown_kb < 300_000
    assert len({(r["event_time"], r["strike"], r["option_type"]) for r in lake.rows()}) == 100_000
