"""Numbers, dates and times as the wire formats write them."""

from __future__ import annotations

import locale
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.values import (
    BadValueError,
    iso_date,
    iso_time,
    named_month_date,
    named_month_time,
    nse_date,
    number,
    price,
    quantity,
    strike_price,
)

NULLS = frozenset({"", "-", "NaN"})
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
INDIA = timezone(timedelta(hours=5, minutes=30))


def _indian_grouping(digits: str) -> str:
    head, tail = digits[:-3], digits[-3:]
    pairs: list[str] = []
    while head:
        pairs.insert(0, head[-2:])
        head = head[:-2]
    return ",".join([*pairs, tail])


@given(st.integers(0, 2**62))
def test_a_whole_number_is_the_same_grouped_and_plain(value: int) -> None:
    assert number(_indian_grouping(str(value)), NULLS) == value
    assert number(f"{value:,}", NULLS) == value
    assert number(f" {value} ", NULLS) == value


@given(st.decimals(-(10**6), 10**6, places=4))
def test_a_decimal_is_the_float_nearest_to_it(value: Decimal) -> None:
    assert number(f"{value:f}", NULLS) == float(value)


@pytest.mark.parametrize(
    "spoiled", [True, [], {}, float("inf"), "1,2", "0x10", "1_0", "٣", "--", "1 2", "infinity"]
)
def test_what_is_no_number_is_refused(spoiled: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        number(spoiled, NULLS)
    assert caught.value.reason == "bad_number"


@pytest.mark.parametrize("missing", [None, "", "-", " ", "NaN", float("nan")])
def test_what_is_missing_is_none(missing: Any) -> None:
    assert number(missing, NULLS) is None
    assert price(missing, NULLS) is None
    assert quantity(missing, NULLS, 75) is None


@pytest.mark.parametrize("none", [0, 0.0, -0.0, "0", "0.00", "0.000000000000000000000000"])
def test_a_price_of_zero_is_none_and_a_quantity_of_zero_is_zero(none: Any) -> None:
    assert price(none, NULLS) is None
    assert quantity(none, NULLS) == 0


@given(units=st.integers(-(10**9), 10**9), lot=st.integers(1, 5000))
def test_contracts_that_the_exchange_divided_become_whole_units_again(units: int, lot: int) -> None:
    assert quantity(units / lot, NULLS, lot) == units


def test_contracts_that_are_no_whole_units_are_refused() -> None:
    assert quantity(92.66666666666667, NULLS, 75) == 6950
    for fraction, lot in ((92.67, 75), (0.5, 65), (1.5, 1)):
        with pytest.raises(BadValueError) as caught:
            quantity(fraction, NULLS, lot)
        assert caught.value.reason == "fractional_units"


@pytest.mark.parametrize("huge", [2**63, 10**400, "9223372036854775808", "1e300", 1e308])
def test_a_quantity_beyond_64_bits_is_refused(huge: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        quantity(huge, NULLS, 75)
    assert caught.value.reason == "bad_number"


def test_a_price_beyond_floats_is_refused() -> None:
    with pytest.raises(BadValueError, match="too large"):
        price(10**400, NULLS)


@pytest.mark.parametrize("spoiled", [None, "", "-", "ATM", 10**400, [24000]])
def test_a_strike_must_be_a_number(spoiled: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        strike_price(spoiled, NULLS)
    assert caught.value.reason == "bad_strike"


@given(st.dates(date(1900, 1, 1), date(2199, 12, 31)))
def test_dates_are_read_in_every_form_in_use(day: date) -> None:
    month = MONTHS[day.month - 1]
    assert iso_date(day.isoformat()) == day
    assert named_month_date(f"{day.day:02}-{month}-{day.year}") == day
    assert named_month_date(f" {day.day} {month.upper()} {day.year} ") == day
    assert nse_date(f"{day.day:02}-{day.month:02}-{day.year}") == day
    assert nse_date(f"{day.day:02}-{month}-{day.year}") == day


@pytest.mark.parametrize(
    "spoiled", [None, 20260127, "", "31-Feb-2026", "27-01-26", "01/27/2026", "27-Jänner-2026", "0-Jan-2026"]
)
def test_what_is_no_date_is_none(spoiled: Any) -> None:
    assert iso_date(spoiled) is named_month_date(spoiled) is nse_date(spoiled) is None


def test_a_form_is_read_only_where_it_is_declared() -> None:
    assert named_month_date("14-07-2026") is None
    assert nse_date("2026-07-14") is None
    assert iso_date("14-07-2026") is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("16-Jul-2025 15:30:00", datetime(2025, 7, 16, 15, 30, tzinfo=INDIA)),
        ("10 Jul 2026 | 19:15 ", datetime(2026, 7, 10, 19, 15, tzinfo=INDIA)),
        ("05-AUG-2025 13:59:23", datetime(2025, 8, 5, 13, 59, 23, tzinfo=INDIA)),
        ("10 Jul 2026 | 9:15 ", datetime(2026, 7, 10, 9, 15, tzinfo=INDIA)),
    ],
)
def test_times_of_the_exchanges_are_indian_time(text: str, moment: datetime) -> None:
    assert named_month_time(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-02 15:26", datetime(2026, 2, 2, 15, 26, tzinfo=INDIA)),
        ("2026-02-02 12:11:27", datetime(2026, 2, 2, 12, 11, 27, tzinfo=INDIA)),
        ("2026-06-08 09:01:52.631243+05:30", datetime(2026, 6, 8, 9, 1, 52, 631243, tzinfo=INDIA)),
        ("2026-06-08T03:31:52Z", datetime(2026, 6, 8, 9, 1, 52, tzinfo=INDIA)),
        ("1970-01-01 05:30:00", datetime(1970, 1, 1, 5, 30, tzinfo=INDIA)),
    ],
)
def test_iso_times_are_brought_to_indian_time(text: str, moment: datetime) -> None:
    read = iso_time(text)
    assert read == moment
    assert read is not None
    assert read.utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    "spoiled", [None, 1750000000, "", "20260202", "2026-W06-1", "2026-02-30 09:15", "0001-01-01 00:00:00"]
)
def test_what_is_no_time_is_none(spoiled: Any) -> None:
    assert iso_time(spoiled) is None
    assert named_month_time(spoiled) is None


def test_month_names_do_not_depend_on_the_locale() -> None:
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_TIME, name)
        except locale.Error:
            continue
        try:
            assert named_month_date("03-May-2019") == date(2019, 5, 3)
            assert named_month_time("01-Oct-2019 09:15:00") == datetime(2019, 10, 1, 9, 15, tzinfo=INDIA)
        finally:
            locale.setlocale(locale.LC_TIME, before)
