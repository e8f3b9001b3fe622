"""BSE's option-chain API against an independent reading of the same file."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

INDIA = timezone(timedelta(hours=5, minutes=30))
LOT = 20


def _path(recordings: Path) -> Path:
    return recordings / "bse_api_json" / "sensex_option_chain.json"


def _numbers(rows: list[dict[str, str]], *names: str) -> list[float]:
    return [float(row[name].replace(",", "")) for row in rows for name in names if row[name]]


def test_the_recording_adds_up(recordings: Path, read: Any, text_of: Any) -> None:
    path = _path(recordings)
    rows = json.loads(text_of(path))["Table"]
    reading = read("bse-json", path)
    (chain,) = reading.chains
    assert (reading.files, reading.rejects) == ([], [])
    assert (chain.exchange, chain.symbol) == ("BSE", "SENSEX")
    assert chain.event_time == datetime(2026, 7, 10, 19, 15, tzinfo=INDIA)
    assert chain.context == {"underlying_price": 77569.39, "lot_size": LOT}
    assert len(chain.calls) == len(chain.puts) == len(rows)
    assert {leg["expiry"] for leg in reading.legs} == {date(2026, 7, 16)}
    assert [leg["strike"] for leg in chain.calls] == _numbers(rows, "Strike_Price")
    for column, name in {
        "oi": "Open_Interest",
        "volume": "Vol_Traded",
        "oi_change": "Absolute_Change_OI",
    }.items():
        values = _numbers(rows, f"C_{name}", name)
        assert reading.total(column) == LOT * sum(values)
        assert reading.nulls(column) == 2 * len(rows) - len(values)
    prices = _numbers(rows, "C_Last_Trd_Price", "Last_Trd_Price")
    assert reading.total("ltp") == pytest.approx(sum(prices), rel=1e-12)
    assert reading.nulls("ltp") == 2 * len(rows) - len(prices) + prices.count(0)
    ivs = _numbers(rows, "C_IV", "IV")
    assert reading.total("iv") == pytest.approx(sum(ivs) / 100, rel=1e-12)
    assert reading.nulls("iv") == 2 * len(rows) - len(ivs) + ivs.count(0)
    for column in ("bid", "ask", "bid_qty", "ask_qty"):
        assert reading.nulls(column) == 2 * len(rows)


def test_a_whole_answer_equals_the_exchanges_own_totals(recordings: Path, read: Any, text_of: Any) -> None:
    document = json.loads(text_of(_path(recordings)))
    rows = document["Table"]
    if sum(_numbers(rows, "C_Open_Interest")) != float(document["tot_C_Open_Interest"].replace(",", "")):
        pytest.skip("the sample is cut; its totals are those of the whole answer")
    (chain,) = read("bse-json", _path(recordings)).chains
    for legs, name in ((chain.calls, "tot_C_Open_Interest"), (chain.puts, "tot_Open_Interest")):
        assert sum(leg["oi"] or 0 for leg in legs) == LOT * float(document[name].replace(",", ""))


def test_calls_are_the_fields_with_the_prefix(samples: Path, read: Any, text_of: Any) -> None:
    document = json.loads(text_of(_path(samples)))
    row = next(row for row in document["Table"] if row["C_Open_Interest"] and row["Open_Interest"])
    document["Table"] = [row]
    (chain,) = read("bse-json", json.dumps(document).encode()).chains
    assert [leg["oi"] for leg in chain.calls] == [LOT * int(row["C_Open_Interest"])]
    assert [leg["oi"] for leg in chain.puts] == [LOT * int(row["Open_Interest"])]


def test_a_fault_of_the_row_rejects_both_legs(samples: Path, read: Any, text_of: Any) -> None:
    document = json.loads(text_of(_path(samples)))
    document["Table"][0]["End_TimeStamp"] = "later"
    document["Table"][1]["Strike_Price"] = "high"
    reading = read("bse-json", json.dumps(document).encode())
    assert [reject.reason for reject in reading.rejects] == ["bad_expiry"] * 2 + ["bad_strike"] * 2
    assert [reject.payload for reject in reading.rejects[:2]] == [document["Table"][0]] * 2
    assert [reject.detail[:3] for reject in reading.rejects] == ["CE:", "PE:"] * 2
