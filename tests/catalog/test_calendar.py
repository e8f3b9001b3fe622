"""Sessions of the exchanges: the rule, the shipped exceptions, the user's own, and what recordings show."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.calendar import SessionCalendar
from lake.errors import SettingsError

IST = ZoneInfo("Asia/Kolkata")
HEADER = "exchange,date,kind,open,close,note\n"
SHIPPED = SessionCalendar.load(None)
BOTH = pytest.mark.parametrize("exchange", ["NSE", "BSE"])


@pytest.fixture
def calendar() -> SessionCalendar:
    return SHIPPED


def _hours(calendar: SessionCalendar, exchange: str, day: date) -> tuple[time, time] | None:
    session = calendar.session(exchange, day)
    return (session.open.time(), session.close.time()) if session else None


def _user_file(folder: Path, lines: str) -> Path:
    path = folder / "calendar.csv"
    path.write_text(HEADER + lines, encoding="utf-8")
    return path


# The rule and the shipped table.


@BOTH
def test_an_ordinary_weekday_trades_from_0915_to_1530_in_indian_time(
    calendar: SessionCalendar, exchange: str
) -> None:
    session = calendar.session(exchange, date(2026, 6, 8))
    assert session is not None
    assert session.kind == "regular"
    assert session.open == datetime(2026, 6, 8, 3, 45, tzinfo=UTC)
    assert session.close == datetime(2026, 6, 8, 10, 0, tzinfo=UTC)


@BOTH
def test_equity_derivatives_trade_until_1540_since_the_closing_auction(
    calendar: SessionCalendar, exchange: str
) -> None:
    assert _hours(calendar, exchange, date(2026, 7, 31)) == (time(9, 15), time(15, 30))
    assert _hours(calendar, exchange, date(2026, 8, 3)) == (time(9, 15), time(15, 40))
    assert _hours(calendar, exchange, date(2026, 12, 31)) == (time(9, 15), time(15, 40))


# Weekdays of each year without any session, counted from the exchanges' yearly holiday circulars.
@pytest.mark.parametrize(
    ("year", "closed"),
    [(2019, 17), (2020, 12), (2021, 13), (2022, 12), (2023, 15), (2024, 16), (2025, 13), (2026, 16)],
)
@BOTH
def test_the_weekdays_without_a_session_are_as_many_as_the_exchanges_announced(
    calendar: SessionCalendar, exchange: str, year: int, closed: int
) -> None:
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(366)]
    weekdays = [day for day in days if day.year == year and day.weekday() < 5]
    assert sum(calendar.session(exchange, day) is None for day in weekdays) == closed


@pytest.mark.parametrize(
    ("day", "kind", "hours"),
    [
        ("2019-10-27", "muhurat", "18:15-19:15"),
        ("2020-02-01", "special", "09:15-15:30"),
        ("2020-11-14", "muhurat", "18:15-19:15"),
        ("2021-02-24", "special", "09:15-17:00"),
        ("2021-11-04", "muhurat", "18:15-19:15"),
        ("2022-10-24", "muhurat", "18:15-19:15"),
        ("2023-11-12", "muhurat", "18:15-19:15"),
        ("2024-01-20", "regular", "09:15-15:30"),
        ("2024-03-02", "special", "09:15-12:30"),
        ("2024-05-18", "special", "09:15-12:30"),
        ("2024-11-01", "muhurat", "18:00-19:00"),
        ("2025-02-01", "special", "09:15-15:30"),
        ("2025-10-21", "muhurat", "13:45-14:45"),
        ("2026-02-01", "special", "09:15-15:30"),
    ],
)
@BOTH
def test_weekend_and_muhurat_sessions_are_known(
    calendar: SessionCalendar, exchange: str, day: str, kind: str, hours: str
) -> None:
    opens, closes = hours.split("-")
    session = calendar.session(exchange, date.fromisoformat(day))
    assert session is not None
    assert session.kind == kind
    assert session.note
    assert session.open == datetime.fromisoformat(f"{day}T{opens}:00+05:30")
    assert session.close == datetime.fromisoformat(f"{day}T{closes}:00+05:30")


@BOTH
def test_no_other_weekend_day_has_a_session(calendar: SessionCalendar, exchange: str) -> None:
    sessions = calendar.sessions(exchange, date(2019, 1, 1), date(2026, 12, 31))
    weekend = {session.date.isoformat() for session in sessions if session.date.weekday() >= 5}
    assert weekend == {
        "2019-10-27", "2020-02-01", "2020-11-14", "2023-11-12", "2024-01-20",
        "2024-03-02", "2024-05-18", "2025-02-01", "2026-02-01",
    }  # fmt: skip


@BOTH
def test_every_session_opens_and_closes_on_its_own_date(calendar: SessionCalendar, exchange: str) -> None:
    sessions = calendar.sessions(exchange, date(2019, 1, 1), date(2026, 12, 31))
    assert len(sessions) == 1974 + 9  # weekdays by pandas_market_calendars 5.5.0 (NSE), and the weekend days
    for session in sessions:
        assert session.exchange == exchange
        assert session.open < session.close
        assert calendar.session_date(exchange, session.open) == session.date
        assert calendar.session_date(exchange, session.close) == session.date
        assert calendar.close_of(exchange, session.date) == session.close


def test_the_table_says_for_which_years_it_was_checked(calendar: SessionCalendar) -> None:
    inside = [date(2019, 1, 1), date(2026, 12, 31)]
    outside = [date(2018, 12, 31), date(2027, 1, 1)]
    assert [calendar.covers(day) for day in inside + outside] == [True, True, False, False]


# What recordings show.


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def _candles(recordings: Path) -> Iterator[tuple[str, list[datetime]]]:
    """Candles of an index or a future: every session from the first to the last day is in them."""
    for path in sorted((recordings / "index_3min_csv").rglob("*.csv*")):
        rows = csv.DictReader(_text(path).splitlines())
        exchange = "BSE" if "SENSEX" in path.parts else "NSE"
        yield exchange, [datetime.fromisoformat(row["datetime"]) for row in rows]
    for path in sorted((recordings / "kite_candles_json").glob("*.json*")):
        candles = json.loads(_text(path))["data"]["candles"]
        yield "NSE", [datetime.strptime(candle[0], "%Y-%m-%dT%H:%M:%S%z") for candle in candles]


def _snapshots(recordings: Path) -> Iterator[tuple[str, datetime]]:
    """Moments that the exchanges' own feeds put on their data."""
    for path in sorted((recordings / "nse_live_derivatives_csv").glob("*.csv*")):
        for row in csv.DictReader(_text(path).splitlines()):
            yield "NSE", datetime.fromisoformat(row["datetime"])
    for path in sorted((recordings / "nse_api_json").rglob("*.json*")):
        text = _text(path)
        if text.startswith("{"):
            answer = json.loads(text)
            stamp = answer.get("records", answer).get("timestamp")
            if stamp:
                yield "NSE", datetime.strptime(stamp, "%d-%b-%Y %H:%M:%S").replace(tzinfo=IST)
    for path in sorted((recordings / "bse_api_json").glob("*.json*")):
        stamp = json.loads(_text(path))["ASON"]["DT_TM"].strip()
        yield "BSE", datetime.strptime(stamp, "%d %b %Y | %H:%M").replace(tzinfo=IST)


def test_recorded_days_are_sessions_and_unrecorded_ones_are_not(
    calendar: SessionCalendar, whole_recordings: Path
) -> None:
    checked = 0
    for exchange, moments in _candles(whole_recordings):
        recorded = {calendar.session_date(exchange, moment) for moment in moments}
        expected = calendar.sessions(exchange, min(recorded), max(recorded))
        assert recorded == {session.date for session in expected}
        assert all(calendar.is_open(exchange, moment) for moment in moments)
        checked += len(recorded)
    for exchange, moment in _snapshots(whole_recordings):
        assert calendar.session(exchange, calendar.session_date(exchange, moment)) is not None
        checked += 1
    assert checked > 0, f"no recording was found in {whole_recordings}"


# Dates and moments.


@given(
    moment=st.datetimes(
        min_value=datetime.fromisoformat("2000-01-02"), max_value=datetime.fromisoformat("2100-01-01")
    ),
    offset=st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_the_session_date_is_the_exchanges_date_whatever_zone_the_moment_comes_in(
    moment: datetime, offset: int
) -> None:
    # Independent of zoneinfo: India is 5 h 30 min ahead of UTC, without daylight saving.
    expected = (moment - timedelta(minutes=offset) + timedelta(hours=5, minutes=30)).date()
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert SHIPPED.session_date("NSE", aware) == expected


@given(
    day=st.dates(min_value=date(2019, 1, 2), max_value=date(2030, 1, 1)),
    seconds=st.integers(min_value=-60 * 60, max_value=60 * 60),
    midnight_in=st.sampled_from([UTC, IST]),
)
def test_around_midnight_in_india_and_in_utc_the_session_date_is_the_indian_one(
    day: date, seconds: int, midnight_in: timezone | ZoneInfo
) -> None:
    midnight = datetime.combine(day, time(0), midnight_in).astimezone(UTC)
    found = SHIPPED.session_date("BSE", midnight + timedelta(seconds=seconds))
    # Midnight UTC is 05:30 in India: an hour to either side stays within the day.
    assert found == (day if midnight_in is UTC or seconds >= 0 else day - timedelta(days=1))


def test_a_naive_moment_is_taken_as_exchange_local(calendar: SessionCalendar) -> None:
    assert calendar.session_date("NSE", datetime.fromisoformat("2026-06-08T00:30")) == date(2026, 6, 8)
    assert calendar.is_open("NSE", datetime.fromisoformat("2026-06-08T09:15"))
    assert not calendar.is_open("NSE", datetime.fromisoformat("2026-06-08T03:45"))
    assert calendar.is_open("NSE", datetime(2026, 6, 8, 3, 45, tzinfo=UTC))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-06-08T09:14:59", False),
        ("2026-06-08T09:15:00", True),
        ("2026-06-08T15:29:59", True),
        ("2026-06-08T15:30:00", False),
        ("2026-08-03T15:39:59", True),
        ("2026-08-03T15:40:00", False),
        ("2026-06-26T12:00:00", False),
        ("2026-06-07T12:00:00", False),
        ("2025-10-21T12:00:00", False),
        ("2025-10-21T14:00:00", True),
    ],
)
def test_a_session_runs_from_its_open_up_to_but_not_including_its_close(
    calendar: SessionCalendar, moment: str, expected: bool
) -> None:
    assert calendar.is_open("NSE", datetime.fromisoformat(moment)) is expected


def test_sessions_include_both_ends_in_order(calendar: SessionCalendar) -> None:
    found = calendar.sessions("NSE", date(2026, 6, 25), date(2026, 6, 30))
    assert [session.date.day for session in found] == [25, 29, 30]
    assert calendar.sessions("NSE", date(2026, 6, 30), date(2026, 6, 29)) == []


@pytest.mark.parametrize(
    ("day", "close"),
    [
        (date(2026, 6, 26), time(15, 30)),
        (date(2026, 6, 27), time(15, 30)),
        (date(2026, 9, 14), time(15, 40)),
        (date(2025, 10, 21), time(14, 45)),
    ],
)
def test_a_day_without_a_session_closes_at_the_regular_time_for_contracts_that_name_it(
    calendar: SessionCalendar, day: date, close: time
) -> None:
    assert calendar.close_of("NSE", day) == datetime.combine(day, close, IST)


def test_a_datetime_in_place_of_a_day_is_refused(calendar: SessionCalendar) -> None:
    with pytest.raises(TypeError, match="session_date"):
        calendar.session("NSE", datetime.fromisoformat("2026-06-26T10:00"))
    with pytest.raises(TypeError, match="session_date"):
        calendar.close_of("NSE", datetime.fromisoformat("2026-06-26T10:00"))


def test_an_unknown_exchange_raises_a_key_error(calendar: SessionCalendar) -> None:
    with pytest.raises(KeyError):
        calendar.session("MCX", date(2026, 6, 8))
    with pytest.raises(KeyError):
        calendar.session_date("MCX", datetime(2026, 6, 8, tzinfo=UTC))


def test_a_session_is_worked_out_once(calendar: SessionCalendar) -> None:
    assert calendar.session("NSE", date(2026, 6, 9)) is calendar.session("NSE", date(2026, 6, 9))
    assert calendar.close_of("NSE", date(2026, 6, 9)) is calendar.close_of("NSE", date(2026, 6, 9))


# The user's file.


def test_a_users_file_that_does_not_exist_changes_nothing(tmp_path: Path, calendar: SessionCalendar) -> None:
    loaded = SessionCalendar.load(tmp_path / "calendar.csv")
    span = date(2019, 1, 1), date(2026, 12, 31)
    assert loaded.sessions("NSE", *span) == calendar.sessions("NSE", *span)


def test_a_users_line_wins_over_the_shipped_one_of_the_same_exchange_and_date(tmp_path: Path) -> None:
    path = _user_file(
        tmp_path,
        "# ours\n"
        "NSE,2026-06-26,regular,,,re-opened\n"
        "NSE,2026-02-01,special,10:00,11:00,other hours\n"
        "*,2026-06-08,holiday,,,\n"
        '*,2026-11-08,muhurat,18:00,19:00,"Sunday, Samvat 2083"\n',
    )
    calendar = SessionCalendar.load(path)
    assert _hours(calendar, "NSE", date(2026, 6, 26)) == (time(9, 15), time(15, 30))
    assert _hours(calendar, "BSE", date(2026, 6, 26)) is None
    assert _hours(calendar, "NSE", date(2026, 2, 1)) == (time(10, 0), time(11, 0))
    assert _hours(calendar, "BSE", date(2026, 2, 1)) == (time(9, 15), time(15, 30))
    for exchange in ("NSE", "BSE"):
        assert calendar.session(exchange, date(2026, 6, 8)) is None
        assert _hours(calendar, exchange, date(2026, 11, 8)) == (time(18, 0), time(19, 0))


def test_a_user_can_change_the_regular_hours_of_one_exchange(tmp_path: Path) -> None:
    path = _user_file(tmp_path, "BSE,2026-08-03,hours,09:15,15:30,\nBSE,2027-01-04,hours,09:00,17:00,\n")
    calendar = SessionCalendar.load(path)
    assert _hours(calendar, "BSE", date(2026, 8, 3)) == (time(9, 15), time(15, 30))
    assert _hours(calendar, "NSE", date(2026, 8, 3)) == (time(9, 15), time(15, 40))
    assert _hours(calendar, "BSE", date(2027, 1, 1)) == (time(9, 15), time(15, 30))
    assert _hours(calendar, "BSE", date(2027, 1, 4)) == (time(9, 0), time(17, 0))
    assert calendar.session("BSE", date(2026, 9, 14)) is None


def test_new_hours_may_begin_on_a_day_that_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = _user_file(tmp_path, "*,2027-01-26,holiday,,,\n*,2027-01-26,hours,09:15,15:45,\n")
    calendar = SessionCalendar.load(path)
    assert calendar.session("NSE", date(2027, 1, 26)) is None
    assert calendar.close_of("NSE", date(2027, 1, 27)).time() == time(15, 45)


def test_a_file_saved_by_excel_with_a_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calendar.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + (HEADER + "NSE, 2026-06-08 ,holiday,,,\n").replace("\n", "\r\n").encode()
    )
    assert SessionCalendar.load(path).session("NSE", date(2026, 6, 8)) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("MCX,2026-06-08,holiday,,,", "'MCX' is no exchange"),
        ("NSE,08-06-2026,holiday,,,", "date '08-06-2026'"),
        ("NSE,2026-02-30,holiday,,,", "date '2026-02-30'"),
        ("NSE,2026-06-08,closed,,,", "kind 'closed'"),
        ("NSE,2026-06-08,special,9.15,15:30,", "open '9.15'"),
        ("NSE,2026-06-08,special,15:30,09:15,", "must be before close"),
        ("NSE,2026-06-08,special,09:15,,", "both open and close"),
        ("NSE,2026-06-08,muhurat,,,", "needs open and close"),
        ("NSE,2026-06-08,hours,,,", "needs open and close"),
        ("NSE,2026-06-08,holiday,09:15,15:30,", "neither open nor close"),
        ("NSE,2026-06-08,announced,09:15,15:30,", "neither open nor close"),
        ("NSE,2026-06-08,holiday,,,one, two", "expected 6 fields"),
        ("NSE,2026-06-08,holiday", "expected 6 fields"),
        ('NSE,2026-06-08,holiday,,,"open', "unexpected end of data"),
    ],
)
def test_a_bad_line_is_refused_by_file_and_line_number(tmp_path: Path, line: str, problem: str) -> None:
    path = _user_file(tmp_path, f"# a comment\n\nNSE,2026-01-01,holiday,,,\n{line}\n")
    with pytest.raises(SettingsError) as raised:
        SessionCalendar.load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}, line 5: ")
    assert problem in message


def test_a_second_line_for_the_same_exchange_and_date_is_refused(tmp_path: Path) -> None:
    path = _user_file(tmp_path, "*,2026-06-08,holiday,,,\nBSE,2026-06-08,holiday,,,\n")
    with pytest.raises(SettingsError, match="line 3: BSE has a second line for 2026-06-08"):
        SessionCalendar.load(path)


@pytest.mark.parametrize("content", [b"", b"# only this\n", b"date,exchange\n", b"\xff\xfe\x00"])
def test_a_file_without_the_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calendar.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        SessionCalendar.load(path)
    assert str(path) in str(raised.value)
