"""Live features against the reference of the training dataset: what is flagged, and what is a breach."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from catalog.calendar import SessionCalendar
from lake.errors import MalformedInputError, NotEnoughDataError, SchemaMismatchError
from lake.session import Session
from lake.table import Lake
from monitors.drift import DriftScore, check_drift, check_sessions
from monitors.drift_breaches import find_breaches, worst_features
from monitors.drift_grid import CELLS, SLOTS, window_times
from monitors.drift_profile import DriftProfile, build_profile, read_profile, write_profile
from monitors.drift_record import recent_scores, record
from monitors.evidently_report import prune, report_drift

Values = dict[str, np.ndarray[Any, Any]]
REFERENCE, LIVE = 12, 3


def days_of(calendar: SessionCalendar, count: int) -> list[date]:
    found = calendar.sessions("NSE", date(2026, 1, 5), date(2026, 4, 30))
    return [s.date for s in found if s.close - s.open == timedelta(minutes=CELLS)][:count]


def table(calendar: SessionCalendar, days: list[date], columns: dict[str, Any]) -> pa.Table:
    """Rows a minute; columns are arrays of (sessions, 375) or Arrow arrays of as many values."""
    times = []
    for day in days:
        session = calendar.session("NSE", day)
        assert session is not None
        times += [session.open.astimezone(UTC) + timedelta(minutes=m, seconds=5) for m in range(CELLS)]
    count = len(times)
    return pa.table(
        {
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "date": pa.array(np.repeat(np.array(days, dtype="datetime64[D]"), CELLS)),
            "exchange": ["NSE"] * count,
            "symbol": ["NIFTY"] * count,
            **{n: v if isinstance(v, pa.Array) else pa.array(v.ravel()) for n, v in columns.items()},
        }
    )


def drawn(sessions: int, seed: int) -> Values:
    """Features of several kinds without any drift."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(sessions, CELLS))
    slow = np.empty_like(noise)
    slow[:, 0] = noise[:, 0]
    for t in range(1, CELLS):
        slow[:, t] = 0.9 * slow[:, t - 1] + math.sqrt(1 - 0.81) * noise[:, t]
    gaps = np.where(rng.random((sessions, CELLS)) < 0.3, np.nan, rng.normal(size=(sessions, CELLS)))
    return {
        "quick": rng.normal(100, 5, size=(sessions, CELLS)),
        "slow": slow,
        "tailed": rng.standard_t(2, size=(sessions, CELLS)),
        "gappy": gaps,
        "kind": rng.integers(0, 3, size=(sessions, CELLS)).astype(np.float64),
        "constant": np.full((sessions, CELLS), 7.0),
        "empty": np.full((sessions, CELLS), np.nan),
    }


@pytest.fixture(scope="module")
def profile(calendar: SessionCalendar) -> DriftProfile:
    rows = table(calendar, days_of(calendar, REFERENCE), drawn(REFERENCE, 1))
    return build_profile(rows, "NSE", dataset="jan", dataset_digest="d" * 32, calendar=calendar)


@pytest.fixture
def live_day(calendar: SessionCalendar) -> date:
    return days_of(calendar, REFERENCE + LIVE)[REFERENCE]


@pytest.fixture
def scored(
    calendar: SessionCalendar, profile: DriftProfile, live_day: date
) -> Callable[..., dict[tuple[str, str], DriftScore]]:
    """Scores of one window, by feature and method, of a clean session in which some columns are changed."""

    def score(
        change: Callable[[dict[str, Any]], object] = lambda _: None, *, window: int = SLOTS
    ) -> dict[tuple[str, str], DriftScore]:
        columns: dict[str, Any] = dict(drawn(1, 99))
        change(columns)
        session = calendar.session("NSE", live_day)
        assert session is not None
        rows = table(calendar, [live_day], columns)
        found = check_drift(profile, rows, calendar, at=window_times(session, window)[1])
        return {(s.feature, s.method): s for s in found}

    return score


def flagged(scores: dict[tuple[str, str], DriftScore]) -> set[tuple[str, str]]:
    return {key for key, score in scores.items() if score.drifted}


def test_a_clean_session_has_a_verdict_for_every_feature(scored: Any) -> None:
    scores = scored()

    assert {feature for feature, _ in scores} >= set(drawn(1, 1)) - {"empty"}
    assert scores.pop(("empty", "missing")).verdict == "all_missing"
    assert all(s.verdict in {"ok", "drift"} for s in scores.values())
    for name in ("quick", "slow", "tailed", "gappy", "kind"):
        for method in ("level", "psi", "step"):
            score = scores[name, method]
            assert None not in {score.p_value, score.effective_n}
            assert score.threshold is not None
            assert score.drifted == (abs(score.score or 0) > score.threshold)
    assert len(flagged(scores)) <= 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("quick"), ("quick", "column", "missing_column")),
        (lambda c: c.update(quick=np.full((1, CELLS), np.nan)), ("quick", "missing", "all_missing")),
        (lambda c: c.update(quick=np.where(np.arange(CELLS) % 4 == 0, np.inf, c["quick"])),
         ("quick", "infinite", "drift")),
        (lambda c: c.update(quick=np.full((1, CELLS), 100.0)), ("quick", "constant", "drift")),
        (lambda c: c.update(quick=c["quick"] * 100), ("quick", "out_of_range", "drift")),
        (lambda c: c.update(gappy=np.where(np.arange(CELLS) % 3 > 0, np.nan, c["gappy"])),
         ("gappy", "missing", "drift")),
        (lambda c: c.update(kind=np.where(np.arange(CELLS) % 5 == 0, 9.0, c["kind"])),
         ("kind", "unseen", "drift")),
        (lambda c: c.update(constant=np.full((1, CELLS), 8.0)), ("constant", "unseen", "drift")),
        (lambda c: c.update(empty=np.ones((1, CELLS))), ("empty", "column", "new_values")),
        (lambda c: c.update(quick=c["quick"] + 5), ("quick", "level", "drift")),
        (lambda c: c.update(quick=100 + 3 * (c["quick"] - 100)), ("quick", "psi", "drift")),
        (lambda c: c.update(kind=np.zeros((1, CELLS))), ("kind", "psi", "drift")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_each_fault_of_a_column_is_named(scored: Any, change: Any, expected: tuple[str, str, str]) -> None:
    feature, method, verdict = expected

    clean, scores = flagged(scored()), scored(change)

    assert scores[feature, method].verdict == verdict
    assert scores[feature, method].drifted
    # And no other feature is blamed for it.
    assert {name for name, _ in flagged(scores) - clean} == {feature}


def test_a_new_column_is_told_and_is_no_drift(scored: Any) -> None:
    score = scored(lambda c: c.update(brand_new=np.ones((1, CELLS))))["brand_new", "column"]

    assert (score.verdict, score.drifted) == ("new_column", False)


def test_one_outlier_neither_hides_nor_makes_a_shift(scored: Any) -> None:
    def outlier(columns: Values, shift: float) -> None:
        columns["quick"] = columns["quick"] + shift
        columns["quick"][0, 350] = 1e9

    assert ("quick", "level") in flagged(scored(lambda c: outlier(c, 5)))
    assert {name for name, _ in flagged(scored(lambda c: outlier(c, 0)))} <= {
        name for name, _ in flagged(scored())
    }


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, 1, 2] * 125, pa.int64()),
        pa.array([True, False, None] * 125),
        pa.nulls(CELLS),
        pa.array([1.5, None, 2.5] * 125, pa.float32()),
    ],
    ids=["nullable integers", "booleans", "nulls", "float32"],
)
def test_columns_of_every_numeric_type_are_read(scored: Any, column: pa.Array) -> None:
    assert any(feature == "quick" for feature, _ in scored(lambda c: c.update(quick=column)))


def test_a_reference_that_is_too_short_gives_no_score(calendar: SessionCalendar, live_day: date) -> None:
    rows = table(calendar, days_of(calendar, 3), drawn(3, 1))
    short = build_profile(rows, "NSE", dataset="jan", dataset_digest="d", calendar=calendar)

    found = check_drift(short, table(calendar, [live_day], drawn(1, 2)), calendar)

    verdicts = {s.feature: s.verdict for s in found if s.method == "level"}
    assert verdicts["quick"] == verdicts["slow"] == "reference_too_short"


def test_before_the_first_window_has_ended_there_is_nothing_to_say(
    calendar: SessionCalendar, profile: DriftProfile, live_day: date
) -> None:
    session = calendar.session("NSE", live_day)
    assert session is not None
    rows = table(calendar, [live_day], drawn(1, 2))

    assert check_drift(profile, rows, calendar, at=session.open + timedelta(minutes=24)) == []
    assert check_drift(profile, rows.slice(0, 0), calendar) == []


def test_rows_without_a_key_are_refused(calendar: SessionCalendar, profile: DriftProfile) -> None:
    rows = table(calendar, days_of(calendar, 1), drawn(1, 1)).drop_columns(["symbol"])
    at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    with pytest.raises(SchemaMismatchError, match="symbol"):
        check_drift(profile, rows, calendar, at=at)


def windows(calendar: SessionCalendar, profile: DriftProfile, columns: Values, days: list[date]) -> list[Any]:
    rows = table(calendar, days, columns)
    found = []
    for place, day in enumerate(days):
        session = calendar.session("NSE", day)
        assert session is not None
        today = rows.slice(place * CELLS, CELLS)
        ends = [window_times(session, number)[1] for number in range(1, SLOTS + 1)]
        found += [check_drift(profile, today, calendar, at=end) for end in ends]
    return found


def test_a_shift_fires_in_the_windows_where_it_must_and_a_breach_takes_three(
    calendar: SessionCalendar, profile: DriftProfile
) -> None:
    days = days_of(calendar, REFERENCE + LIVE)[REFERENCE:]
    columns = drawn(LIVE, 5)
    # From noon of the second session on, a whole standard deviation.
    columns["quick"][1, 200:] += 5
    columns["quick"][2:] += 5

    found = windows(calendar, profile, columns, days)

    breached = [
        n for n in range(len(found))
        if any(b.feature == "quick" for b in find_breaches([s for w in found[: n + 1] for s in w]))
    ]  # fmt: skip
    # Row 200 is in the 9th window of the second session; the shift fills half of the window's rows by the
    # 10th, and the third window in a row that agrees is the 12th at the latest.
    assert breached
    assert SLOTS + 9 <= breached[0] <= SLOTS + 12
    # It stays to the session's end; the first windows of the next one are short, and less certain.
    assert set(range(breached[0], 2 * SLOTS)) <= set(breached)
    assert set(range(2 * SLOTS + 7, 3 * SLOTS)) <= set(breached)
    newest = find_breaches([s for w in found for s in w])[0]
    assert newest.feature == "quick"
    assert "level" in newest.methods
    assert worst_features([newest]).startswith("NIFTY quick (")


def test_without_drift_windows_are_flagged_as_rarely_as_promised(calendar: SessionCalendar) -> None:
    """AR(1) of phi 0, 0.9 and 0.99; `benchmarks.drift_false_alarms` does the same with more sessions."""
    days = days_of(calendar, 60)
    for seed, phi in enumerate((0.0, 0.9, 0.99)):
        rng = np.random.default_rng(seed)
        columns = {}
        for number in range(8):
            rows = rng.normal(size=(40, CELLS)) * math.sqrt(1 - phi**2)
            rows[:, 0] /= math.sqrt(1 - phi**2)
            for t in range(1, CELLS):
                rows[:, t] += phi * rows[:, t - 1]
            columns[f"f{number}"] = rows
        past = {name: rows[:20] for name, rows in columns.items()}
        profile = build_profile(
            table(calendar, days[:20], past), "NSE", dataset="d", dataset_digest="d", calendar=calendar
        )
        live = {name: rows[20:] for name, rows in columns.items()}
        found = windows(calendar, profile, live, days[20:40])
        flags = [{s.feature for s in scores if s.drifted} for scores in found]
        share = sum(map(len, flags)) / (8 * len(found))
        # Windows overlap and share a reference: what is independent is the feature and the session, 160.
        assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 160)
        assert find_breaches([s for scores in found for s in scores]) == []


def test_small_lasting_shifts_are_found_over_sessions(
    calendar: SessionCalendar, profile: DriftProfile
) -> None:
    days = days_of(calendar, REFERENCE + 5)[REFERENCE:]
    columns = drawn(5, 8)
    clean = {
        s.feature for s in check_sessions(profile, table(calendar, days, columns), calendar) if s.drifted
    }
    columns["slow"] = columns["slow"] + 0.5

    found = check_sessions(profile, table(calendar, days, columns), calendar)

    assert {s.feature for s in found if s.drifted} - clean == {"slow"}


def test_a_profile_survives_its_file_and_is_refused_for_another_dataset(
    profile: DriftProfile, tmp_path: Path
) -> None:
    file = tmp_path / "models" / "drift_profile.json"
    write_profile(profile, file)

    again = read_profile(file, dataset_digest="d" * 32)

    assert again.to_json() == profile.to_json()
    assert [path.name for path in file.parent.iterdir()] == ["drift_profile.json"]
    with pytest.raises(MalformedInputError, match="make the profile again"):
        read_profile(file, dataset_digest="e" * 32)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(MalformedInputError, match="no drift profile of ours"):
        read_profile(file, dataset_digest="d" * 32)
    with pytest.raises(NotEnoughDataError):
        read_profile(tmp_path / "none.json", dataset_digest="d" * 32)


def test_scores_are_recorded_exactly_once_and_read_back_as_they_were(scored: Any, tmp_path: Path) -> None:
    lake = Lake.at(tmp_path / "lake")
    early, late = (list(scored(window=number).values()) for number in (10, 11))

    assert len(record(lake, [*early, *late])) == 2
    assert record(lake, [*early, *late]) == []
    assert record(lake, early) == []

    with Session(lake) as session:
        back = recent_scores(session, "NSE", "jan", at=late[0].window_end)
        assert back == sorted([*early, *late], key=lambda s: (s.window_end, s.symbol, s.feature, s.method))
        assert recent_scores(session, "NSE", "jan", at=early[0].window_end + timedelta(seconds=1)) == [
            s for s in back if s.window_end == early[0].window_end
        ]
        assert recent_scores(session, "NSE", "another", at=late[0].window_end) == []


def test_levels_that_jump_from_one_side_to_the_other_are_no_breach(scored: Any) -> None:
    up = scored(lambda c: c.update(quick=c["quick"] + 5))["quick", "level"]
    ends = [up.window_end + timedelta(minutes=25 * n) for n in range(3)]
    same = [replace(up, window_end=end) for end in ends]
    assert up.score is not None
    turned = [same[0], replace(same[1], score=-up.score), same[2]]

    assert [b.feature for b in find_breaches(same)] == ["quick"]
    assert find_breaches(turned) == []
    assert find_breaches(same[:2]) == []


def test_evidently_compares_what_it_can_and_names_what_it_cannot(
    calendar: SessionCalendar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("Evidently opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    days = days_of(calendar, REFERENCE + LIVE)
    reference = table(calendar, days[:REFERENCE], drawn(REFERENCE, 1))
    columns: dict[str, Any] = dict(drawn(LIVE, 2))
    columns["quick"] = columns["quick"] + 10
    columns["tailed"][0, :5] = np.inf
    columns["gappy"] = pa.array([None, 1, 0] * 375, pa.int64())
    columns["extra"] = np.ones((LIVE, CELLS))
    live = table(calendar, days[REFERENCE:], columns)

    made = report_drift(
        reference, live, tmp_path, exchange="NSE", dataset="jan", occasion="daily",
        now=datetime(2026, 2, 1, tzinfo=UTC),
    )  # fmt: skip

    assert {s.feature: s.drifted for s in made.scores}["quick"]
    assert {s.feature for s in made.scores if s.drifted} <= {"quick", "gappy"}
    assert set(made.left_out) == {"constant", "empty", "extra"}
    assert made.html.read_text(encoding="utf-8").lstrip().startswith("<")
    assert [file.name for file in made.html.parent.iterdir()] == [f"daily-{days[-1]}.html"]
    with pytest.raises(NotEnoughDataError, match="1,000 rows"):
        report_drift(reference, live.slice(0, 900), tmp_path, exchange="NSE", dataset="jan", occasion="daily")


def test_old_reports_go_and_the_newest_stay(tmp_path: Path) -> None:
    for day in range(1, 8):
        for name in (f"daily-2026-01-0{day}.html", f"drift-2026-01-0{day}T040000Z.html"):
            (tmp_path / name).write_text("x", encoding="utf-8")

    prune(tmp_path, daily=2, fired=3)

    left = sorted(file.name for file in tmp_path.iterdir())
    assert [name for name in left if name.startswith("daily")] == [f"daily-2026-01-0{d}.html" for d in (6, 7)]
    assert len(left) == 5


def test_the_cheap_pass_loads_neither_evidently_nor_pandas() -> None:
    code = (
        "import sys, monitors.drift, monitors.drift_check, monitors.drift_record; "
        "print([m for m in ('evidently', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
