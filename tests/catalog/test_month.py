"""A month as it is printed: sessions, holidays, expiries, and whose word it is."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from catalog.month import fitted_rows, month_rows
from catalog.reference import ReferenceData
from lake.output import Format, show_rows


def rows_of(root: Path | None, month: date, exchange: str = "NSE") -> dict[str, dict[str, object]]:
    return {row["date"]: row for row in month_rows(ReferenceData.load(root), exchange, month)}


def test_a_month_has_every_weekday_and_the_weekend_sessions() -> None:
    rows = rows_of(None, date(2026, 2, 17))
    assert len(rows) == 21
    assert rows["2026-02-01"]["kind"] == "special"
    assert rows["2026-02-01"]["day"] == "Sun"
    assert "2026-02-07" not in rows
    holiday = rows_of(None, date(2026, 3, 1))["2026-03-03"]
    assert (holiday["kind"], holiday["open"], holiday["note"]) == ("holiday", None, "Holi")


def test_hours_and_expiries_are_those_of_the_day() -> None:
    rows = rows_of(None, date(2024, 11, 1))
    diwali = rows["2024-11-01"]
    assert [diwali[name] for name in ("kind", "pre_open", "open", "close")] == [
        "muhurat", "17:45", "18:00", "19:00",
    ]  # fmt: skip
    assert rows["2024-11-28"]["expiries"] == "NIFTY"
    assert rows_of(None, date(2026, 8, 1))["2026-08-04"]["close"] == "15:40"
    assert rows_of(None, date(2026, 7, 1), "BSE")["2026-07-16"]["expiries"] == "SENSEX"


def test_a_users_line_counts_at_once_and_is_marked(tmp_path: Path) -> None:
    line = "NSE,2026-11-08,muhurat,18:00,19:00,Samvat 2083"
    (tmp_path / "calendar.csv").write_text(f"exchange,date,kind,open,close,note\n{line}\n", encoding="utf-8")
    day = rows_of(tmp_path, date(2026, 11, 1))["2026-11-08"]
    assert (day["kind"], day["note"]) == ("muhurat", "Samvat 2083 (your line)")
    unknown = rows_of(tmp_path, date(2026, 11, 1), "BSE")["2026-11-08"]
    assert [unknown[name] for name in ("kind", "pre_open", "open", "close")] == [
        "announced",
        None,
        None,
        None,
    ]
    assert "hours unknown" in str(unknown["note"])


def test_a_month_that_nobody_checked_says_so() -> None:
    assert all("(not checked)" in str(row["note"]) for row in rows_of(None, date(2027, 1, 1)).values())


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
def test_every_month_fits_eighty_columns_and_loses_no_word(
    exchange: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = ReferenceData.load(None)
    for year in range(2019, 2028):
        for month in range(1, 13):
            rows = month_rows(reference, exchange, date(year, month, 1))
            show_rows(fitted_rows(rows), Format.TABLE)
            shown = capsys.readouterr().out
            assert max(map(len, shown.splitlines())) <= 80
            for row in rows:
                for word in f"{row['expiries']} {row['note']}".split():
                    assert word in shown
