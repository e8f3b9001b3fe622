"""NSE's option-chain API against an independent reading of the same files."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

INDIA = timezone(timedelta(hours=5, minutes=30))

# Market lots of those days, from the exchange's circulars.
LOTS = {
    ("NIFTY", 2025): 75,
    ("BANKNIFTY", 2025): 35,
    ("FINNIFTY", 2025): 65,
    ("MIDCPNIFTY", 2025): 140,
    ("NIFTY", 2026): 65,
}
TIMES = {
    "16-Jul-2025 15:30:00": datetime(2025, 7, 16, 15, 30, tzinfo=INDIA),
    "05-Aug-2025 13:59:23": datetime(2025, 8, 5, 13, 59, 23, tzinfo=INDIA),
    "10-Jul-2026 15:30:00": datetime(2026, 7, 10, 15, 30, tzinfo=INDIA),
}


def _recorded(recordings: Path) -> list[Path]:
    files = sorted((recordings / "nse_api_json" / "v1").iterdir())
    return [*files, recordings / "nse_api_json" / "v3" / "nifty_option_chain_new.json"]


def _legs(document: Any) -> list[dict[str, Any]]:
    rows = document.get("records", document)["data"]
    return [row[side] for row in rows for side in ("CE", "PE") if side in row]


def _units(legs: list[dict[str, Any]], name: str, lot: int) -> int:
    return sum(round(Fraction(leg[name]) * lot) for leg in legs)


def test_recordings_add_up(recordings: Path, read: Any, text_of: Any) -> None:
    files = _recorded(recordings)
    assert len(files) >= 4
    for path in files:
        document = json.loads(text_of(path))
        answer = document.get("records", document)
        raw = _legs(document)
        reading = read("nse-json", path)
        (chain,) = reading.chains
        assert (reading.files, reading.rejects) == ([], [])
        assert chain.exchange == "NSE"
        assert chain.symbol == raw[0]["underlying"]
        assert chain.event_time == TIMES[answer["timestamp"]]
        assert chain.context["underlying_price"] == answer["underlyingValue"]
        lot = LOTS[chain.symbol, chain.event_time.year]
        assert chain.context["lot_size"] == lot
        rows: list[dict[str, Any]] = answer["data"]
        assert len(chain.calls) == len([row for row in rows if "CE" in row])
        assert len(chain.puts) == len([row for row in rows if "PE" in row])
        assert reading.total("oi") == _units(raw, "openInterest", lot)
        assert reading.total("oi_change") == _units(raw, "changeinOpenInterest", lot)
        assert reading.total("volume") == _units(raw, "totalTradedVolume", lot)
        assert reading.total("bid_qty") == sum(
            leg["bidQty" if "bidQty" in leg else "buyQuantity1"] for leg in raw
        )
        assert reading.total("ask_qty") == sum(
            leg["askQty" if "askQty" in leg else "sellQuantity1"] for leg in raw
        )
        assert sorted(leg["strike"] for leg in reading.legs) == sorted(leg["strikePrice"] for leg in raw)
        for column, names in {
            "ltp": ("lastPrice",),
            "bid": ("bidprice", "buyPrice1"),
            "ask": ("askPrice", "sellPrice1"),
        }.items():
            values = [leg[name] for leg in raw for name in names if name in leg]
            assert len(values) == len(raw)
            assert reading.nulls(column) == values.count(0)
            assert reading.total(column) == pytest.approx(sum(values), rel=1e-12)
        ivs = [leg["impliedVolatility"] for leg in raw]
        assert reading.nulls("iv") == ivs.count(0)
        assert reading.total("iv") == pytest.approx(sum(ivs) / 100, rel=1e-12)


def test_expiries_stand_in_the_legs(recordings: Path, read: Any, text_of: Any) -> None:
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    months = dict(zip(names, range(1, 13), strict=True))
    for path in _recorded(recordings):
        expected = set()
        for leg in _legs(json.loads(text_of(path))):
            day, month, year = leg["expiryDate"].split("-")
            expected.add(date(int(year), months.get(month) or int(month), int(day)))
        assert {leg["expiry"] for leg in read("nse-json", path).legs} == expected


def test_fractional_contracts_are_whole_units(recordings: Path, read: Any, text_of: Any) -> None:
    path = recordings / "nse_api_json" / "v1" / "nifty_option_chain.at_9713306.json.gz"
    fractional = [leg for leg in _legs(json.loads(text_of(path))) if leg["openInterest"] % 1]
    assert fractional
    by_key = {(leg["strike"], leg["expiry"], leg["oi"]) for leg in read("nse-json", path).legs}
    for leg in fractional:
        expiry = datetime.strptime(leg["expiryDate"], "%d-%b-%Y").date()  # noqa: DTZ007
        assert (leg["strikePrice"], expiry, round(leg["openInterest"] * 75)) in by_key


def test_a_leg_without_underlying_takes_the_chains(recordings: Path, read: Any, text_of: Any) -> None:
    path = recordings / "nse_api_json" / "v1" / "option-chain-indices.nifty.20250805.json.gz"
    document = json.loads(text_of(path))
    assert any(leg["underlyingValue"] == 0 for leg in _legs(document))
    prices = {leg["underlying_price"] for leg in read("nse-json", path).legs}
    own = {leg["underlyingValue"] for leg in _legs(document)} - {0}
    assert prices == own | {document["records"]["underlyingValue"]}


def test_the_files_that_are_no_chain_are_rejected(recordings: Path, read: Any) -> None:
    folder = recordings / "nse_api_json"
    dropdown = read("nse-json", folder / "v3" / "nifty_dropdown.json")
    page = read("nse-json", folder / "not_json" / "nifty_option_chain.json")
    assert (dropdown.file_reasons, dropdown.chains) == (["unknown_shape"], [])
    assert (page.file_reasons, page.chains) == (["html_instead_of_json"], [])


def _answer(*rows: Any, **more: Any) -> bytes:
    answer = {"timestamp": "16-Jul-2025 15:30:00", "underlyingValue": 25212.05, "data": list(rows), **more}
    return json.dumps({"records": answer}).encode()


LEG = {"strikePrice": 25000, "expiryDate": "17-Jul-2025", "underlying": "NIFTY", "openInterest": 2}


def test_absent_and_null_legs_do_not_exist_and_empty_ones_do(read: Any) -> None:
    row = {"strikePrice": 25000, "expiryDate": "17-Jul-2025"}
    reading = read("nse-json", _answer({**row, "CE": LEG}, {**row, "CE": LEG, "PE": None}, {**row, "PE": {}}))
    (chain,) = reading.chains
    assert [leg["oi"] for leg in chain.calls] == [150, 150]
    assert [(leg["oi"], leg["strike"], leg["expiry"]) for leg in chain.puts] == [
        (None, 25000, date(2025, 7, 17))
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"strikePrice": "ATM"}, "bad_strike"),
        ({"expiryDate": "someday"}, "bad_expiry"),
        ({"openInterest": 1.01}, "fractional_units"),
        ({"openInterest": True}, "bad_number"),
        ({"lastPrice": [1]}, "bad_number"),
        ({"strikePrice": "ATM", "expiryDate": "?", "lastPrice": "x"}, "bad_strike"),
    ],
)
def test_a_bad_leg_is_one_reject_with_the_leg_as_it_came(change: Any, reason: str, read: Any) -> None:
    reading = read("nse-json", _answer({"CE": {**LEG, **change}, "PE": LEG}))
    assert [(reject.reason, reject.payload) for reject in reading.rejects] == [(reason, {**LEG, **change})]
    assert reading.rejects[0].detail.startswith("CE: ")
    assert len(reading.legs) == 1


def test_negative_numbers_pass_through(read: Any) -> None:
    (leg,) = read("nse-json", _answer({"CE": {**LEG, "openInterest": -3, "lastPrice": -1.5}})).legs
    assert (leg["oi"], leg["ltp"]) == (-225, -1.5)


def test_rows_and_legs_that_are_no_objects_are_rejected(read: Any) -> None:
    reading = read("nse-json", _answer({"CE": LEG, "PE": "none"}, None, 3))
    assert len(reading.legs) == 1
    assert [reject.reason for reject in reading.rejects] == ["bad_leg"] * 3


def test_repeated_names_lose_nothing(read: Any) -> None:
    leg = json.dumps(LEG)
    spoiled = leg[:-1] + ', "openInterest": 3}'
    text = _answer({"CE": "A"}, {"CE": "B"}).decode()
    text = text.replace('"CE": "A"', f'"CE": {leg}, "CE": {leg}').replace('"B"', spoiled)
    reading = read("nse-json", text.encode())
    assert [each["oi"] for each in reading.legs] == [150, 150]
    (reject,) = reading.rejects
    assert reject.reason == "repeated_names"
    assert [value for name, value in reject.payload["repeated_names"] if name == "openInterest"] == [2, 3]


def test_not_a_number_in_json_is_missing_and_infinity_is_bad(read: Any) -> None:
    text = _answer({"CE": {**LEG, "lastPrice": 111.5}, "PE": {**LEG, "lastPrice": 222.5}}).decode()
    reading = read("nse-json", text.replace("111.5", "NaN").replace("222.5", "-Infinity").encode())
    assert [leg["ltp"] for leg in reading.legs] == [None]
    assert [reject.payload["lastPrice"] for reject in reading.rejects] == ["-Infinity"]


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
def test_deep_nesting_does_not_crash(depth: int, read: Any) -> None:
    deep = "[" * depth + "]" * depth
    text = _answer({"CE": {**LEG, "extra": "DEEP"}}).decode().replace('"DEEP"', deep)
    reading = read("nse-json", text.encode())
    assert len(reading.legs) == 1 or reading.file_reasons == ["malformed_json"]
    assert read("nse-json", deep.encode()).file_reasons in (["malformed_json"], ["unknown_shape"])


def test_malformed_json_tells_where(read: Any) -> None:
    (reject,) = read("nse-json", b'{"records":\n {"data": [1, 2').files
    assert reject.reject.reason == "malformed_json"
    assert "line 2, column 16" in reject.reject.detail


def test_a_bad_underlying_of_the_chain_is_kept_beside_its_legs(read: Any) -> None:
    reading = read("nse-json", _answer({"CE": LEG}, underlyingValue="n/a"))
    assert len(reading.legs) == 1
    assert reading.chains[0].context["underlying_price"] is None
    assert reading.file_reasons == ["bad_number"]


def test_each_underlying_of_a_file_is_a_chain(read: Any) -> None:
    other = {**LEG, "underlying": "Nifty Bank"}
    nameless = {**LEG, "underlying": None}
    reading = read("nse-json", _answer({"CE": LEG, "PE": other}, {"CE": nameless}))
    assert [(chain.symbol, len(chain.calls), len(chain.puts)) for chain in reading.chains] == [
        ("NIFTY", 2, 0),
        ("BANKNIFTY", 0, 1),
    ]
