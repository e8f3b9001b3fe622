"""In the weeks after a revision of lots the legs of one chain come in by the lot of their own expiry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.load import LoadSummary, load
from ingest.retry import retry
from ingest.sources import ADAPTERS

SAMPLE = Path(__file__).parents[1] / "data" / "nse_api_json" / "v3" / "nifty_option_chain_new.json"
HEADER = "exchange,symbol,valid_from,lot_size,expires_by\n"
SIDES = ("CE", "PE")
DECEMBER, JANUARY = date(2025, 12, 2), date(2026, 1, 27)


@pytest.fixture
def chain() -> dict[str, Any]:
    """A real chain of NSE, moved to 2025-11-26; every other strike is made one of January 2026."""
    document: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    document["timestamp"] = "26-Nov-2025 11:00:00"
    for number, row in enumerate(document["data"]):
        expiry = JANUARY if number % 2 else DECEMBER
        text = f"{expiry:%d-%b-%Y}"
        row["expiryDates"] = text
        for side in SIDES:
            row[side]["expiryDate"] = text
    return document


@pytest.fixture
def load_chain(lake: Any, tmp_path: Path, chain: dict[str, Any]) -> Callable[[], LoadSummary]:
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(chain), encoding="utf-8")
    return lambda: load(lake.settings, ADAPTERS["nse-json"], [path])


def contracts(chain: dict[str, Any]) -> dict[tuple[date, float, str], int]:
    """Open interest as the exchange gives it, in contracts."""
    return {
        (JANUARY if number % 2 else DECEMBER, row[side]["strikePrice"], side): row[side]["openInterest"]
        for number, row in enumerate(chain["data"])
        for side in SIDES
    }


def in_the_lake(lake: Any) -> dict[tuple[date, float, str], tuple[int, int]]:
    """Open interest and lot size of each leg; a leg that is there twice fails."""
    rows = lake.rows()
    found = {(r["expiry"], r["strike"], r["option_type"]): (r["oi"], r["lot_size"]) for r in rows}
    assert len(found) == len(rows)
    return found


def test_each_leg_is_counted_by_the_lot_of_its_expiry(
    lake: Any, chain: dict[str, Any], load_chain: Callable[[], LoadSummary]
) -> None:
    summary = load_chain()
    lots = {DECEMBER: 75, JANUARY: 65}
    assert summary.quarantined == {}
    assert in_the_lake(lake) == {
        leg: (count * lots[leg[0]], lots[leg[0]]) for leg, count in contracts(chain).items()
    }
    assert Counter(leg[0] for leg in in_the_lake(lake)) == Counter(leg[0] for leg in contracts(chain))


def test_a_leg_without_a_known_lot_is_rejected_alone_and_comes_in_once_by_a_retry(
    lake: Any, chain: dict[str, Any], load_chain: Callable[[], LoadSummary]
) -> None:
    table = lake.settings.root / "lot_sizes.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(f"{HEADER}NSE,NIFTY,2025-10-29,75,2025-12-30\n", encoding="utf-8")
    later = sum(leg[0] == JANUARY for leg in contracts(chain))
    summary = load_chain()
    assert summary.quarantined == {"unknown_lot_size": later}
    assert {leg[0] for leg in in_the_lake(lake)} == {DECEMBER}
    rejected = lake.rows("quarantine")
    assert len(rejected) == later > 0
    assert all("that expire on 2026-01-27" in row["detail"] for row in rejected)

    table.write_text(
        f"{HEADER}NSE,NIFTY,2025-10-29,75,2025-12-30\nNSE,NIFTY,2025-10-29,65,\n", encoding="utf-8"
    )
    assert load_chain().known == 1, "half of it is in: loading it again must not double that half"
    assert retry(lake.settings).accepted == later
    lots = {DECEMBER: 75, JANUARY: 65}
    expected = {leg: (count * lots[leg[0]], lots[leg[0]]) for leg, count in contracts(chain).items()}
    assert in_the_lake(lake) == expected

    assert load_chain().known == 1
    assert retry(lake.settings).tried == 0
    assert in_the_lake(lake) == expected
    assert lake.totals(app_id="backfill")["difference"] == 0


@pytest.mark.parametrize("first", ["load", "retry"])
def test_a_chain_of_which_nothing_was_known_and_then_half_is_never_doubled(
    lake: Any, chain: dict[str, Any], load_chain: Callable[[], LoadSummary], first: str
) -> None:
    table = lake.settings.root / "lot_sizes.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(f"{HEADER}NSE,NIFTY,2025-10-29,,\n", encoding="utf-8")
    assert load_chain().quarantined == {"unknown_lot_size": len(contracts(chain))}
    half = f"{HEADER}NSE,NIFTY,2025-10-29,75,2025-12-30\n"
    steps: dict[str, Callable[[], object]] = {"load": load_chain, "retry": lambda: retry(lake.settings)}
    order = ["load", "retry"] if first == "load" else ["retry", "load"]
    for lots, expiries in ((half, {DECEMBER}), (f"{half}NSE,NIFTY,2025-10-29,65,\n", {DECEMBER, JANUARY})):
        table.write_text(lots, encoding="utf-8")
        for step in order:
            steps[step]()
        assert in_the_lake(lake).keys() == {leg for leg in contracts(chain) if leg[0] in expiries}
    assert lake.totals(app_id="backfill")["difference"] == 0
