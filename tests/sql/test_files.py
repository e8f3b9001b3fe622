"""What holds for every file of sql/, whatever it asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.queries import QUERIES, Query, load_folder

INDIA = timezone(timedelta(hours=5, minutes=30))
TABLES = {"option_chain", "attribution", "feed_quality", "candles"}

VIEWS = load_folder(QUERIES / "views", known=TABLES)
CHECKS = load_folder(QUERIES / "checks", known=TABLES | {view.name for view in VIEWS})
ALL = [*VIEWS, *CHECKS]
# Not over the lake's tables: lake.lookahead registers what these read, and tests/lake/test_asof.py runs them.
AUDIT = load_folder(QUERIES / "audit", known={"questions", "history", "offences"})
# Steps over one session, with parameters: catalog.session_features runs them, and tests/explain tests them.
FEATURES = load_folder(QUERIES / "features", known=TABLES | {"feature_symbols"})
# Of an exchange and a moment, with parameters: monitors.lake_probes runs them, and tests/monitors tests them.
HEALTH = load_folder(
    QUERIES / "health",
    known=TABLES
    | {view.name for view in VIEWS}
    | {"quarantine", "signals", "paper_trading_metrics", "health_metrics"},
)
# Over tables that may lack columns: ingest.rejects runs them, and tests/ingest tests them.
QUARANTINE = load_folder(QUERIES / "quarantine", known={"quarantine", "quarantine_retries"})
# Of an exchange and a date, with parameters: ingest.quality_report runs them, and tests/ingest tests them.
QUALITY = load_folder(QUERIES / "quality", known=TABLES)
# Of what the page shows, with parameters: monitors.dashboard runs them, tests/monitors/dashboard tests them.
DASHBOARD = load_folder(
    QUERIES / "dashboard",
    known=TABLES
    | {view.name for view in VIEWS}
    | {"health_metrics", "signals_recent", "drift_scores_recent", "paper_trading_metrics_recent"},
)
# What other databases get, with parameters: catalog.serving runs them, tests/catalog/test_export.py tests.
SERVING = load_folder(
    QUERIES / "serving",
    known=TABLES
    | {"ml_features", "signals", "health_metrics", "paper_trading_metrics", "drift_scores"}
    | {view.name for view in VIEWS},
)
each_query = pytest.mark.parametrize("query", ALL, ids=lambda query: query.name)
each_file = pytest.mark.parametrize(
    "query",
    [*ALL, *AUDIT, *FEATURES, *HEALTH, *QUALITY, *DASHBOARD, *QUARANTINE, *SERVING],
    ids=lambda query: query.name,
)
each_portable = pytest.mark.parametrize("query", [*ALL, *FEATURES], ids=lambda query: query.name)
each_view = pytest.mark.parametrize("query", VIEWS, ids=lambda query: query.name)

Rows = list[dict[str, Any]]
Session = Callable[..., duckdb.DuckDBPyConnection]
Fetch = Callable[[duckdb.DuckDBPyConnection, str], Rows]

TIME_ZONES = ("Asia/Kolkata", "UTC", "America/New_York", "Pacific/Chatham")


def seeded_rows() -> Rows:
    """Two symbols, two expiries, a midnight of UTC and one of India within reach; one check offends each."""
    rows: Rows = []
    opening = datetime(2026, 1, 30, 9, 15, tzinfo=INDIA)
    for symbol, spot in (("NIFTY", 25010.0), ("BANKNIFTY", 59030.0)):
        for minute, expiry, steps in product((0, 4, 8, 200, 375), (3, 10), range(-14, 15)):
            for option_type in ("CE", "PE"):
                rows.append(
                    {
                        "symbol": symbol,
                        "event_time": opening + timedelta(minutes=minute),
                        "expiry": date(2026, 2, expiry),
                        "strike": spot // 100 * 100 + steps * 100.0,
                        "option_type": option_type,
                        "underlying_price": spot + minute,
                        "oi": 65 * (1000 + minute * steps**2),
                        "volume": 650 * minute,
                        "ltp": 100.0,
                        "iv": 0.12 + (0.0005 if option_type == "PE" else 0.0003) * abs(steps),
                        "batch_id": f"batch-{minute}",
                    }
                )
    last = rows[-1]
    rows.append({**last, "received_time": last["event_time"] + timedelta(seconds=30)})
    rows.append({**last, "event_time": last["event_time"] + timedelta(minutes=1), "volume": 0})
    rows.append({**last, "event_time": opening + timedelta(hours=15), "date": date(2026, 1, 30)})
    rows.append({**last, "event_time": opening, "strike": 1.0, "batch_id": "", "dq_flags": 5})
    return rows


def seeded_attribution() -> Rows:
    """Two models, three features; four sessions of training and two after it."""
    return [
        {
            "date": date(2026, 1, 5) + timedelta(days=day),
            "exchange": "NSE",
            "event_time": datetime(2026, 1, 5 + day, 15, 15, tzinfo=INDIA),
            "model_version": model,
            "sample": "training" if day < 4 else "session",
            "feature": feature,
            "class": name,
            "mean": (day % 3 - 1) * number / 10,
            "mean_absolute": number / 5,
            "std": 0.1,
            "row_count": 600,
            "batch_id": f"{model}-{day}",
        }
        for model, day, (number, feature), name in product(
            ("a", "b"), range(6), enumerate(("vix", "trend", "pcr_oi")), ("BUY", "HOLD", "SELL")
        )
    ]


def seeded_feed_quality() -> Rows:
    """Two conversions of each of three minutes; a repeat in the first, silence in the last."""
    opening = datetime(2026, 1, 30, 9, 15, tzinfo=INDIA)
    return [
        {
            "date": date(2026, 1, 30),
            "exchange": "NSE",
            "event_time": opening + timedelta(minutes=minute),
            "received_time": opening + timedelta(minutes=minute + 1),
            "symbol": "NIFTY",
            "source": "live",
            "detector": detector,
            "rows_seen": rows,
            "rows_flagged": rows if detector == "repeated" else 0,
            "chains": rows // 58,
            "value": 60.0 if detector == "silent" else None,
            "batch_id": f"batch-{part}",
        }
        for minute, detector, rows in (
            (0, "seen", 58),
            (0, "repeated", 58),
            (1, "seen", 58),
            (2, "silent", 0),
        )
        for part in range(2)
    ]


def seeded_candles() -> Rows:
    """The VIX in candles of three minutes, one received twice and one of a session; a chain at the close."""
    opening = datetime(2026, 1, 30, 9, 15, tzinfo=INDIA)
    close = opening.replace(hour=15, minute=30)
    common = {"date": date(2026, 1, 30), "exchange": "NSE", "source": "candle-csv", "batch_id": "batch-1"}
    vix = {**common, "symbol": "INDIAVIX", "instrument": "index"}
    rows = [
        {
            **vix,
            "start_time": opening + timedelta(minutes=3 * step),
            "event_time": opening + timedelta(minutes=3 * step + 3),
            "received_time": close,
            "interval_s": 180,
            "close": 12 + step / 100,
        }
        for step in range(125)
    ]
    rows.append(
        {**rows[7], "received_time": close + timedelta(hours=1), "close": 19.0, "batch_id": "batch-2"}
    )
    rows.append({**rows[-2], "start_time": opening.replace(hour=0), "interval_s": 86400, "close": 20.0})
    rows += [
        {
            **common,
            "symbol": "NIFTY",
            "instrument": "option",
            "expiry": date(2026, 2, 3),
            "strike": 25000.0 + 50 * step,
            "option_type": option_type,
            "start_time": opening.replace(hour=0, minute=0),
            "event_time": close,
            "received_time": close + timedelta(hours=2 + again),
            "interval_s": 86400,
            "close": 100.0 + again,
            "oi": 65 * step,
            "underlying_price": 25010.0,
            "source": "bhavcopy-udiff",
        }
        for step in range(5)
        for option_type in ("CE", "PE")
        for again in range(2)
    ]
    return rows


@pytest.fixture(scope="module")
def empty(session: Session) -> duckdb.DuckDBPyConnection:
    return session([])


@pytest.fixture(scope="module")
def seeded(session: Session) -> Mapping[str, duckdb.DuckDBPyConnection]:
    """The same rows in sessions of several time zones."""
    given = {
        "attribution": seeded_attribution(),
        "feed_quality": seeded_feed_quality(),
        "candles": seeded_candles(),
    }
    return {zone: session(seeded_rows(), **given, time_zone=zone) for zone in TIME_ZONES}


def test_there_are_views_and_checks() -> None:
    assert {"latest_chain", "pcr_5m", "oi_change", "max_pain", "atm_iv_skew", "underlying_ohlc_5m"} <= {
        view.name for view in VIEWS
    }
    assert len(CHECKS) >= 2


def test_every_sql_file_is_in_a_folder_that_is_loaded() -> None:
    loaded = [*ALL, *AUDIT, *FEATURES, *HEALTH, *QUALITY, *DASHBOARD, *QUARANTINE, *SERVING]
    assert sorted(query.path for query in loaded) == sorted(QUERIES.rglob("*.sql"))


def test_sql_holds_no_python() -> None:
    assert QUERIES.is_dir()
    assert list(QUERIES.rglob("*.py")) == []


def tables_named(sql: str) -> set[str]:
    """Tables and views in FROM and JOIN, by DuckDB's own parser; names of WITH are none of them."""
    (tree,) = duckdb.connect().execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone() or ("",)
    named: set[str] = set()
    local: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                named.add(node["table_name"])
            if "cte_map" in node:
                local.update(entry["key"] for entry in node["cte_map"]["map"])
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                walk(each)

    parsed = json.loads(tree)
    assert not parsed["error"], parsed
    walk(parsed)
    return named - local


@each_file
def test_the_header_reads_what_the_statement_reads(query: Query) -> None:
    assert set(query.reads) == tables_named(query.sql)


@each_file
def test_the_header_declares_the_parameters_of_the_statement(query: Query) -> None:
    without_comments = re.sub(r"--[^\n]*", "", query.sql)
    assert set(query.parameters) == set(re.findall(r"\$(\w+)", without_comments))


@each_portable
def test_the_query_keeps_to_what_other_engines_understand(query: Query) -> None:
    without_comments = re.sub(r"--[^\n]*", "", query.sql)
    assert not re.search(
        r"time_bucket|ASOF\s+JOIN|GROUP\s+BY\s+ALL|\bPIVOT\b|\blist\s*\(", without_comments, re.IGNORECASE
    )


@each_query
def test_the_query_runs_on_an_empty_lake(empty: duckdb.DuckDBPyConnection, query: Query) -> None:
    assert empty.sql(query.sql).fetchall() == []


@each_query
def test_the_query_finds_something_in_a_seeded_lake_and_keeps_its_grain(
    seeded: Mapping[str, duckdb.DuckDBPyConnection], fetch: Fetch, query: Query
) -> None:
    rows = fetch(seeded["Asia/Kolkata"], query.sql)
    assert rows, f"{query.name} found nothing"
    grain = [word for word in re.findall(r"\w+", query.grain) if word in rows[0]]
    assert grain
    assert len({tuple(row[column] for column in grain) for row in rows}) == len(rows)


@pytest.mark.parametrize("time_zone", [zone for zone in TIME_ZONES if zone != "Asia/Kolkata"])
@each_query
def test_the_time_zone_of_the_session_changes_no_result(
    seeded: Mapping[str, duckdb.DuckDBPyConnection], fetch: Fetch, query: Query, time_zone: str
) -> None:
    def result(time_zone: str) -> list[str]:
        return sorted(map(repr, fetch(seeded[time_zone], query.sql)))

    assert result(time_zone) == result("Asia/Kolkata") != []


@each_view
def test_every_view_tells_its_exchange_and_date_so_that_conditions_prune(
    empty: duckdb.DuckDBPyConnection, query: Query
) -> None:
    columns = empty.sql(f"FROM {query.name}").columns
    assert {"date", "exchange"} <= set(columns)
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("path", sorted(QUERIES.rglob("*.sql")), ids=lambda path: path.stem)
def test_lines_fit_the_line_length_of_the_project(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        assert len(line) <= 110, f"{path.name}:{number}"
        assert line == line.rstrip(), f"{path.name}:{number}"
