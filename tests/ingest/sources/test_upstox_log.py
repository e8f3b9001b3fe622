"""Logs with answers of Upstox against Python's own reading of the same lines."""

from __future__ import annotations

import ast
import gzip
import logging
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import ADAPTERS, AnyFormat
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.upstox_log import LINE_BYTES, chains_of

FOLDER = "upstox_chain_log"
IST = timedelta(hours=5, minutes=30)
UNDERLYINGS = {
    "BSE_INDEX|BANKEX": ("BSE", "BANKEX"),
    "NSE_INDEX|Nifty Fin Service": ("NSE", "FINNIFTY"),
}
SIDES = {"calls": "call_options", "puts": "put_options"}
MARKET = {
    "ltp": "ltp",
    "bid": "bid_price",
    "ask": "ask_price",
    "bid_qty": "bid_qty",
    "ask_qty": "ask_qty",
    "oi": "oi",
    "volume": "volume",
}
COUNTS = {"bid_qty", "ask_qty", "oi", "volume"}

LEG = {"market_data": {"ltp": 5.5, "oi": 65.0, "volume": 130}, "option_greeks": {"iv": 12.5}}
ROW = {
    "expiry": "2026-01-27",
    "strike_price": 25000.0,
    "underlying_key": "NSE_INDEX|Nifty 50",
    "underlying_spot_price": 25010.5,
    "call_options": LEG,
    "put_options": LEG,
}
TIME = "2026-01-22 10:00:00,123"


def _answer(*rows: Any) -> dict[str, Any]:
    return {"status": "success", "data": list(rows)}


def _line(answer: Any, when: str = TIME) -> str:
    return f"{when} - DEBUG - Data fetched successfully: {answer!r}"


def _file(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode()


def _as_read_by_python(path: Path, text_of: Any) -> list[tuple[datetime, dict[str, Any]]]:
    answers = []
    for line in text_of(path).splitlines():
        stamp, _, body = line.partition(" - DEBUG - Data fetched successfully: ")
        local = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC) - IST
        answers.append((local, ast.literal_eval(body)))
    return answers


# Both of the month of January 2025, which keeps the lot from before the revision of 2024-11-20.
@pytest.mark.parametrize(("name", "lot"), [("Bankex", 15), ("FinNifty", 25)])
def test_every_leg_of_the_recording_is_what_stands_in_it(
    name: str, lot: int, recordings: Path, read: Any, text_of: Any
) -> None:
    path = recordings / FOLDER / f"{name}.2025-01-23.payload_lines.log.gz"
    reading = read("upstox-log", path)
    assert (reading.files, reading.rejects) == ([], [])
    answers = _as_read_by_python(path, text_of)
    assert len(reading.chains) == len(answers) > 1
    for chain, (moment, answer) in zip(reading.chains, answers, strict=True):
        rows = answer["data"]
        assert chain.event_time == moment
        assert (chain.exchange, chain.symbol) == UNDERLYINGS[rows[0]["underlying_key"]]
        assert chain.context["underlying_price"] == rows[0]["underlying_spot_price"]
        for side, key in SIDES.items():
            legs = getattr(chain, side)
            assert len(legs) == len(rows)
            for leg, row in zip(legs, rows, strict=True):
                market, greeks = row[key]["market_data"], row[key]["option_greeks"]
                expected = {ours: market[theirs] or None for ours, theirs in MARKET.items()}
                expected |= {ours: int(market[MARKET[ours]]) for ours in COUNTS}
                expected["iv"] = greeks["iv"] / 100 if greeks["iv"] else None
                expected["oi_change"] = None
                expected["strike"] = row["strike_price"]
                expected["expiry"] = date.fromisoformat(row["expiry"])
                expected["underlying_price"] = row["underlying_spot_price"]
                expected["lot_size"] = lot
                assert leg == expected
                assert all(leg[column] % lot == 0 for column in COUNTS if leg[column])


def test_every_line_of_every_recording_is_a_chain(recordings: Path, read: Any, text_of: Any) -> None:
    paths = sorted((recordings / FOLDER).iterdir())
    assert len(paths) == 2
    reading = read("upstox-log", *paths)
    lines = Counter(path.name for path in paths for line in text_of(path).splitlines() if line.strip())
    assert len(reading.chains) == lines.total() == 7
    assert len(set(reading.identities)) == 7


def test_the_ratio_in_the_recordings_is_a_strikes_own(recordings: Path, text_of: Any) -> None:
    """Why `pcr` is not stored: the column is the ratio of the chain."""
    strikes = 0
    for path in (recordings / FOLDER).iterdir():
        for _, answer in _as_read_by_python(path, text_of):
            for row in answer["data"]:
                call, put = (row[key]["market_data"]["oi"] for key in SIDES.values())
                assert ("pcr" in row) == (call > 0)
                if call:
                    strikes += 1
                    assert row["pcr"] == pytest.approx(put / call, abs=0.006)
    assert strikes > 50


def test_previous_open_interest_in_the_recordings_is_not_that_of_the_day_before(
    recordings: Path, text_of: Any
) -> None:
    """Why the change of open interest is null: what did not trade cannot have changed."""
    path = recordings / FOLDER / "FinNifty.2025-01-23.payload_lines.log.gz"
    for _, answer in _as_read_by_python(path, text_of):
        markets = [row[key]["market_data"] for row in answer["data"] for key in SIDES.values()]
        changed = [each for each in markets if not each["volume"] and each["oi"] != each["prev_oi"]]
        assert [each["prev_oi"] - each["oi"] for each in changed] == [25.0] * 3


def test_other_lines_of_the_log_are_passed_over_and_counted(
    read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    others = (
        f"{TIME} - INFO - Starting",
        "Traceback (most recent call last):",
        "  File 'x.py', line 3",
        "{}",
    )
    with caplog.at_level(logging.INFO):
        reading = read("upstox-log", _file(others[0], _line(_answer(ROW)), *others[1:]))
    assert len(reading.legs) == 2
    assert (reading.files, reading.rejects) == ([], [])
    (record,) = [each for each in caplog.records if getattr(each, "action", "") == "pass_over_lines"]
    assert (record.lines, record.answers) == (4, 1)  # type: ignore[attr-defined]


def test_a_log_is_recognised_by_an_answer_after_many_other_lines(
    tmp_path: Path, reference: ReferenceData
) -> None:
    path = tmp_path / "tracker"
    path.write_bytes(_file(*[f"{TIME} - INFO - Waiting"] * 200, _line(_answer(*[ROW] * 400))))
    reader = AnyFormat(ADAPTERS.values())
    (chain,) = reader.read(path, reference)
    assert dict(reader.chosen) == {"upstox-log": 1}
    assert isinstance(chain, ChainUpdate)
    assert len(chain.calls) == 400


def test_prose_about_such_a_log_is_not_taken_for_one(tmp_path: Path, reference: ReferenceData) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"`{TIME} - DEBUG - Data fetched successfully: {{...}}`, `underlying_key` and such\n")
    (reject,) = AnyFormat(ADAPTERS.values()).read(path, reference)
    assert not isinstance(reject, ChainUpdate)
    assert reject.reject.reason == "unknown_format"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (_line(_answer(ROW))[:-9], "malformed_payload"),
        (_line(_answer(ROW)) + _line(_answer(ROW)), "malformed_payload"),
        (_line("x"), "unknown_shape"),
        (_line({"status": "error", "errors": [{"errorCode": "UDAPI100050"}]}), "unknown_shape"),
        (_line(_answer()), "no_legs"),
        (f"{TIME} - DEBUG - Data fetched successfully: None", "unknown_shape"),
        (f"{TIME} - DEBUG - Data fetched successfully: {'{' * 100_000}", "malformed_payload"),
        (_line(_answer(ROW)) + " " * LINE_BYTES, "line_too_long"),
    ],
    ids=lambda value: str(value)[-12:],
)
def test_an_answer_that_cannot_be_read_is_one_reject_and_costs_no_other(
    line: str, reason: str, read: Any
) -> None:
    good = _line(_answer(ROW))
    reading = read("upstox-log", _file(good, line, good.replace("10:00", "10:01")))
    assert reading.file_reasons == [reason]
    assert len(reading.chains) == 2
    (reject,) = reading.files
    assert "line 2" in reject.reject.detail
    again = read("upstox-log", _file(good, line, good.replace("10:00", "10:01"), good))
    assert [each.identity for each in again.files] == [reject.identity]


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        (7, ["bad_leg"]),
        ({"strike_price": 1}, ["bad_leg"]),
        ({**ROW, "call_options": []}, ["bad_leg"]),
        ({**ROW, "call_options": {"market_data": None}}, ["bad_leg"]),
        ({**ROW, "call_options": {**LEG, "option_greeks": 3}}, ["bad_leg"]),
        ({**ROW, "strike_price": None}, ["bad_strike", "bad_strike"]),
        ({**ROW, "expiry": "27-01-2026"}, ["bad_expiry", "bad_expiry"]),
        ({**ROW, "put_options": {"market_data": {**LEG["market_data"], "oi": 65.5}}}, ["fractional_units"]),
        ({**ROW, "underlying_key": "NSE_EQ|INE002A01018"}, ["bad_symbol", "bad_symbol"]),
        ({**ROW, "underlying_key": "MCX_FO|GOLD"}, ["bad_symbol", "bad_symbol"]),
    ],
)
def test_a_bad_row_rejects_its_legs_and_no_other(row: Any, reasons: list[str], read: Any) -> None:
    reading = read("upstox-log", _file(_line(_answer(ROW, row, ROW))))
    assert [reject.reason for reject in reading.rejects] == reasons
    sides = row.keys() & set(SIDES.values()) if isinstance(row, dict) else ()
    assert len(reading.legs) == 4 + len(sides) - (len(reasons) if sides else 0)


def test_names_that_stand_twice_reject_what_they_stand_in(read: Any) -> None:
    good = _line(_answer(ROW))
    twice_in_leg = good.replace("'ltp': 5.5", "'ltp': 5.5, 'ltp': 6.5", 1)
    assert [each.reason for each in read("upstox-log", _file(twice_in_leg)).rejects] == ["repeated_names"]
    twice_in_row = good.replace("'expiry'", "'expiry': 1, 'expiry'", 1)
    reading = read("upstox-log", _file(twice_in_row))
    assert [each.reason for each in reading.rejects] == ["repeated_names"] * 2
    assert reading.rejects[0].payload["repeated_names"][0] == ("expiry", 1)


def test_legs_without_greeks_or_of_one_side_are_read(read: Any) -> None:
    row = {
        **ROW,
        "call_options": {"market_data": LEG["market_data"], "option_greeks": None},
        "put_options": None,
    }
    reading = read("upstox-log", _file(_line(_answer(row))))
    assert reading.rejects == []
    ((call,), (chain,)) = (reading.legs, reading.chains)
    assert (call["iv"], call["oi"], call["bid"]) == (None, 65, None)
    assert chain.puts == []


def test_each_underlying_of_an_answer_is_a_chain(read: Any) -> None:
    keys = ["NSE_INDEX|Nifty Bank", "BSE_INDEX|SENSEX", "NSE_INDEX|Nifty Bank", "NSE_INDEX|NIFTY MID SELECT"]
    reading = read("upstox-log", _file(_line(_answer(*({**ROW, "underlying_key": key} for key in keys)))))
    assert [(chain.exchange, chain.symbol, len(chain.calls)) for chain in reading.chains] == [
        ("NSE", "BANKNIFTY", 2),
        ("BSE", "SENSEX", 1),
        ("NSE", "MIDCPNIFTY", 1),
    ]


@pytest.mark.parametrize(
    "before",
    [
        "2026-01-22 10:00:00,123 - chains.py - DEBUG - Data fetched successfully: ",
        "[2026-01-22 10:00:00.123] DEBUG Data fetched successfully: ",
        "2026-01-22T10:00:00,123 got ",
    ],
)
def test_other_layouts_of_a_log_line_are_read(before: str, read: Any) -> None:
    (chain,) = read("upstox-log", _file(before + repr(_answer(ROW)))).chains
    assert chain.event_time == datetime(2026, 1, 22, 4, 30, 0, 123000, tzinfo=UTC)


def test_a_time_that_cannot_be_read_is_kept_without_the_rest_of_its_line(read: Any) -> None:
    """So that quarantine can try it again once that form of time is known."""
    reading = read("upstox-log", _file(_line(_answer(ROW), "at 10 o'clock")))
    assert [each.reason for each in reading.rejects] == ["bad_event_time"] * 2
    assert all('"at 10 o\'clock" is no time' in each.detail for each in reading.rejects)


def test_a_log_that_grew_repeats_the_identities_of_its_chains(read: Any) -> None:
    line, later = _line(_answer(ROW)), _line(_answer(ROW), TIME.replace("10:", "11:"))
    before = read("upstox-log", _file(line, line, later)).identities
    after = read("upstox-log", _file(line, line, later, later)).identities
    assert len(set(after)) == 4
    assert after[:3] == before


def test_an_answer_of_a_live_source_gives_the_same_legs_under_its_own_name(
    read: Any, reference: ReferenceData
) -> None:
    (recorded,) = read("upstox-log", _file(_line(_answer(ROW)))).chains
    moment = datetime(2026, 1, 22, 4, 30, 0, 123000, tzinfo=UTC)
    (live,) = chains_of(_answer(ROW), moment, reference, source="upstox")
    assert (live.source, recorded.source) == ("upstox", "upstox-log")
    assert live.event_time == recorded.event_time
    assert (live.calls, live.puts) == (recorded.calls, recorded.puts)
    with pytest.raises(NotARecordingError) as caught:
        list(chains_of({"status": "error"}, moment, reference))
    assert caught.value.reason == "unknown_shape"


def test_one_line_is_held_at_a_time(tmp_path: Path, reference: ReferenceData) -> None:
    path = tmp_path / "long.log.gz"
    row_count, line_count = 40, 200
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(line_count):
            file.write(
                _line(_answer(*[ROW] * row_count), f"2026-01-22 10:{number // 60:02}:{number % 60:02},000")
            )
            file.write("\n")
    tracemalloc.start()
    legs = 0
    for each in ADAPTERS["upstox-log"].read(path, reference):
        assert isinstance(each, ChainUpdate)
        legs += len(each.calls) + len(each.puts)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert legs == 2 * row_count * line_count
    assert peak_bytes < 3_000_000


@pytest.mark.parametrize("start", ["", f"{TIME} - DEBUG - Data fetched successfully: "])
def test_a_line_without_end_is_read_in_bounded_memory(
    start: str, tmp_path: Path, reference: ReferenceData
) -> None:
    path = tmp_path / "endless.log.gz"
    size_bytes = 200_000_000
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start.encode())
        for _ in range(size_bytes // 1_000_000):
            file.write(b"[" * 1_000_000)
    tracemalloc.start()
    (reject,) = ADAPTERS["upstox-log"].read(path, reference)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not isinstance(reject, ChainUpdate)
    assert reject.reject.reason == ("line_too_long" if start else "unknown_shape")
    assert reject.reject.payload["bytes"] == (size_bytes + len(start) if start else path.stat().st_size)
    assert peak_bytes < 8 * LINE_BYTES
