"""Every recording of candles, loaded and compared with a reading of its own by csv and json."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ingest.load import LoadSummary, load
from ingest.sources import ADAPTERS, AnyFormat, recording_files
from lake.settings import Settings

INDIA = timezone(timedelta(hours=5, minutes=30))
GRAIN = ("event_time", "exchange", "symbol", "instrument", "expiry", "strike", "option_type", "interval_s",
         "source")  # fmt: skip
PRICES = ("open", "high", "low", "close")
LOTS_OF_2019 = {"NIFTY": 75, "BANKNIFTY": 20}


def run(lake: Any, *paths: Path) -> LoadSummary:
    reader = AnyFormat(ADAPTERS.values())
    return load(lake.settings, reader, [file for path in paths for file in recording_files(reader, path)])


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(path))))


def price(text: str | float) -> float | None:
    return float(text) or None


def index_rows(folder: Path) -> list[dict[str, Any]]:
    """What the index files say: symbol in the folder, naive Indian labels, three minutes."""
    symbols = {"INDIA_VIX": "INDIAVIX"}
    rows = []
    for path in sorted(folder.rglob("*.csv*")):
        name = path.parent.name
        for line in table_of(path):
            start = datetime.fromisoformat(line["datetime"]).replace(tzinfo=INDIA)
            assert line["volume"] == "0"
            rows.append(
                {
                    "exchange": "BSE" if name == "SENSEX" else "NSE",
                    "symbol": symbols.get(name, name),
                    "instrument": "index",
                    "expiry": None,
                    "strike": None,
                    "option_type": None,
                    "interval_s": 180,
                    "start_time": start,
                    "event_time": start + timedelta(minutes=3),
                    "volume": None,
                    **{each: float(line[each]) for each in PRICES},
                }
            )
    return rows


def option_rows(folder: Path) -> list[dict[str, Any]]:
    """What Kite's files of options say: the contract in the name, labels with an offset, three minutes."""
    rows = []
    for path in sorted(folder.rglob("*.csv")):
        symbol = path.name.partition("_")[0]
        assert symbol.startswith("SENSEX25911")
        for line in table_of(path):
            start = datetime.fromisoformat(line["timestamp"])
            rows.append(
                {
                    "exchange": "BSE",
                    "symbol": "SENSEX",
                    "instrument": "option",
                    "expiry": date(2025, 9, 11),
                    "strike": float(symbol.removeprefix("SENSEX25911")[:-2]),
                    "option_type": symbol[-2:],
                    "interval_s": 180,
                    "start_time": start,
                    "event_time": start + timedelta(minutes=3),
                    "volume": int(line["volume"]),
                    "lot_size": 20,
                    **{each: float(line[each]) for each in PRICES},
                }
            )
    return rows


def future_rows(folder: Path) -> list[dict[str, Any]]:
    """What Kite's JSON of the future says: half hours, of which the last ends at the close."""
    rows = []
    (path,) = folder.glob("*.json")
    for label, *prices, volume, oi in json.loads(text_of(path))["data"]["candles"]:
        start = datetime.fromisoformat(label)
        close = datetime.combine(start.date(), time(15, 30), start.tzinfo)
        rows.append(
            {
                "exchange": "NSE",
                "symbol": "NIFTY",
                "instrument": "future",
                # The last Tuesday of April 2026.
                "expiry": date(2026, 4, 28),
                "strike": None,
                "option_type": None,
                "interval_s": 1800,
                "start_time": start,
                "event_time": min(start + timedelta(minutes=30), close),
                "volume": volume,
                "oi": oi,
                **dict(zip(PRICES, map(float, prices), strict=True)),
            }
        )
    return rows


def legacy_rows(folder: Path) -> list[dict[str, Any]]:
    """What the bhavcopy of 2019 says of underlyings whose lot is known."""
    rows = []
    for line in table_of(folder / "fo_legacy_sample_01AUG2019.csv"):
        if line["SYMBOL"] not in LOTS_OF_2019:
            continue
        option = line["INSTRUMENT"] == "OPTIDX"
        assert line["TIMESTAMP"] == "01-AUG-2019"
        rows.append(
            {
                "exchange": "NSE",
                "symbol": line["SYMBOL"],
                "instrument": "option" if option else "future",
                "expiry": datetime.strptime(line["EXPIRY_DT"], "%d-%b-%Y").replace(tzinfo=UTC).date(),
                "strike": float(line["STRIKE_PR"]) if option else None,
                "option_type": line["OPTION_TYP"] if option else None,
                "interval_s": 86400,
                "start_time": datetime(2019, 8, 1, tzinfo=INDIA),
                "event_time": datetime(2019, 8, 1, 15, 30, tzinfo=INDIA),
                **{each: price(line[each.upper()]) for each in PRICES},
                "settle": price(line["SETTLE_PR"]),
                "volume": int(float(line["CONTRACTS"]) * LOTS_OF_2019[line["SYMBOL"]]),
                "turnover": pytest.approx(float(line["VAL_INLAKH"]) * 1e5, abs=0.01),
                "oi": int(float(line["OPEN_INT"])),
                "oi_change": int(float(line["CHG_IN_OI"])),
                "lot_size": LOTS_OF_2019[line["SYMBOL"]],
                "source": "bhavcopy-fo",
            }
        )
    return rows


def udiff_rows(folder: Path) -> list[dict[str, Any]]:
    """What the UDiFF file of derivatives says."""
    rows = []
    for line in table_of(folder / "fo_udiff_excerpt_20260519.csv"):
        option = line["OptnTp"] != ""
        rows.append(
            {
                "exchange": "NSE",
                "symbol": line["TckrSymb"],
                "instrument": "option" if option else "future",
                "expiry": date.fromisoformat(line["XpryDt"]),
                "strike": float(line["StrkPric"]) if option else None,
                "option_type": line["OptnTp"] or None,
                "interval_s": 86400,
                "start_time": datetime(2026, 5, 19, tzinfo=INDIA),
                "event_time": datetime(2026, 5, 19, 15, 30, tzinfo=INDIA),
                "open": price(line["OpnPric"]),
                "high": price(line["HghPric"]),
                "low": price(line["LwPric"]),
                "close": price(line["ClsPric"]),
                "settle": price(line["SttlmPric"]),
                "underlying_price": price(line["UndrlygPric"]),
                "volume": int(line["TtlTradgVol"]) * int(line["NewBrdLotQty"]),
                "turnover": float(line["TtlTrfVal"]),
                "trades": int(line["TtlNbOfTxsExctd"]),
                "oi": int(line["OpnIntrst"]),
                "oi_change": int(line["ChngInOpnIntrst"]),
                "lot_size": int(line["NewBrdLotQty"]),
                "source": "bhavcopy-udiff",
            }
        )
    return rows


READINGS = {
    "index_3min_csv": index_rows,
    "kite_candles_3min_csv": option_rows,
    "kite_candles_json": future_rows,
    "bhavcopy": lambda folder: legacy_rows(folder) + udiff_rows(folder),
}


def key(row: dict[str, Any]) -> str:
    return repr([row["exchange"], row["symbol"], row["expiry"], row["strike"], row["option_type"],
                 row["interval_s"], row["start_time"].timestamp()])  # fmt: skip


@pytest.mark.parametrize("folder", READINGS)
def test_rows_are_what_an_independent_reading_says(lake: Any, recordings: Path, folder: str) -> None:
    wanted = {key(row): row for row in READINGS[folder](recordings / folder)}
    summary = run(lake, recordings / folder)
    found = lake.rows("candles")
    assert len(found) == summary.candles == summary.rows == len(wanted) > 0
    for row in found:
        for name, value in wanted[key(row)].items():
            assert row[name] == value, (name, row)
        assert row["date"] == row["start_time"].astimezone(INDIA).date()
    assert set(Counter(tuple(row[name] for name in GRAIN) for row in found).values()) == {1}
    assert lake.totals("candles", app_id="backfill")["difference"] == 0


def test_what_cannot_be_a_row_is_quarantined_and_counted(lake: Any, recordings: Path) -> None:
    legacy = table_of(recordings / "bhavcopy" / "fo_legacy_sample_01AUG2019.csv")
    unknown = [line for line in legacy if line["SYMBOL"] not in LOTS_OF_2019]
    summary = run(lake, recordings / "bhavcopy")
    assert summary.quarantined == {"unknown_lot_size": len(unknown), "not_derivatives": 1}
    rejected = lake.rows("quarantine")
    assert {row["table"] for row in rejected} == {"candles"}
    lots = [row for row in rejected if row["reason"] == "unknown_lot_size"]
    assert {row["date"] for row in lots} == {date(2019, 8, 1)}
    payloads = sorted(json.loads(row["payload"])["SYMBOL"] for row in lots)
    assert payloads == sorted(line["SYMBOL"] for line in unknown)
    (cash,) = [row for row in rejected if row["reason"] == "not_derivatives"]
    assert "'CM'" in cash["detail"]
    assert json.loads(cash["payload"])["file"].startswith("bhavcopy_cm_udiff_20260519.csv")
    totals = lake.totals("candles", app_id="backfill")
    assert totals["offered"] == totals["committed"] + totals["quarantined"]
    assert totals["quarantined"] == len(rejected)


def test_once_a_lot_size_is_known_the_same_bhavcopy_brings_its_rows_in(lake: Any, samples: Path) -> None:
    before = run(lake, samples / "bhavcopy")
    (lake.settings.root / "lot_sizes.csv").write_text(
        "exchange,symbol,valid_from,lot_size\nNSE,IOC,2019-01-01,3500\n", encoding="utf-8"
    )
    after = run(lake, samples / "bhavcopy")
    ioc = [row for row in lake.rows("candles") if row["symbol"] == "IOC"]
    assert after.candles == len(ioc) == 3
    assert len(lake.rows("candles")) == before.candles + 3
    lines = [x for x in table_of(samples / "bhavcopy/fo_legacy_sample_01AUG2019.csv") if x["SYMBOL"] == "IOC"]
    assert sum(row["volume"] for row in ioc) == 3500 * sum(float(line["CONTRACTS"]) for line in lines)


@pytest.mark.parametrize("folder", READINGS)
def test_loading_again_adds_nothing_whatever_is_around_the_names(
    lake: Any, samples: Path, tmp_path: Path, folder: str
) -> None:
    first = run(lake, samples / folder)
    rejected = len(lake.rows("quarantine"))
    for path in sorted((samples / folder).rglob("*.*")):
        if path.is_file():
            copy = tmp_path / "elsewhere" / path.relative_to(samples)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.with_name(copy.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    for where in (samples / folder, tmp_path / "elsewhere"):
        again = run(lake, where)
        assert (again.rows, again.quarantined) == (0, {})
        assert again.known > 0
    assert len(lake.rows("candles")) == first.candles
    assert len(lake.rows("quarantine")) == rejected


def test_a_bhavcopy_in_a_zip_as_the_exchange_ships_it_is_the_same(
    lake: Any, samples: Path, tmp_path: Path
) -> None:
    plain = samples / "bhavcopy" / "fo_legacy_sample_01AUG2019.csv"
    with zipfile.ZipFile(tmp_path / "fo01AUG2019bhav.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "fo01AUG2019bhav.csv")
    packed = run(lake, tmp_path)
    assert packed.candles == len(legacy_rows(plain.parent))
    assert run(lake, plain).rows == 0


def test_of_a_grown_file_only_the_new_candles_are_taken(lake: Any, samples: Path, tmp_path: Path) -> None:
    recording = samples / "index_3min_csv" / "INDIA_VIX" / "3m.2026-01.csv"
    growing = tmp_path / "INDIA VIX" / "3m.csv"
    growing.parent.mkdir()
    lines = recording.read_text(encoding="utf-8").splitlines(keepends=True)
    growing.write_text("".join(lines[:60]), encoding="utf-8")
    before = run(lake, growing)
    growing.write_text("".join(lines), encoding="utf-8")
    after = run(lake, growing)
    assert (before.candles, after.candles, after.known) == (59, len(lines) - 60, 59)
    assert len(lake.rows("candles")) == len(lines) - 1
    # The month cut from the same series, under another name, brings nothing that is not there.
    assert run(lake, recording).candles == 0


def test_a_correction_of_a_candle_stands_beside_what_was_said_first(
    lake: Any, samples: Path, tmp_path: Path
) -> None:
    recording = samples / "index_3min_csv" / "INDIA_VIX" / "3m.2026-01.csv"
    run(lake, recording)
    count = len(lake.rows("candles"))
    changed = tmp_path / "INDIA_VIX" / recording.name
    changed.parent.mkdir()
    shutil.copy(recording, changed)
    head, first, *rest = changed.read_text(encoding="utf-8").splitlines(keepends=True)
    label, *_ = first.split(",")
    changed.write_text(head + f"{label},9.1,9.5,9.0,9.3,0\n" + "".join(rest), encoding="utf-8")
    assert run(lake, changed).candles == 1
    assert len(lake.rows("candles")) == count + 1


def test_a_lake_from_before_gets_the_table_with_its_next_commit(
    lake: Any, samples: Path, tmp_path: Path
) -> None:
    run(lake, samples / "bse_api_json")
    chains = len(lake.rows())
    shutil.rmtree(lake.settings.root / "raw_stream" / "candles")
    run(lake, samples / "kite_candles_json")
    assert len(lake.rows("candles")) == 39
    assert len(lake.rows()) == chains > 0
    assert Settings(root=lake.settings.root).lake.tables().keys() >= {"candles", "option_chain"}
