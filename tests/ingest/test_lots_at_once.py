"""A lot size that a user adds while the recorder runs: chains that count contracts come in from then on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from edited_table import Clock

from catalog.calendar import SessionCalendar
from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.messages import MessageReader
from ingest.tap import StreamTap

HEADER = "exchange,symbol,valid_from,lot_size\n"


def test_contracts_become_units_once_a_line_says_their_lot(lake: Any, samples: Path) -> None:
    text = min((samples / "bse_api_json").rglob("*.json")).read_text(encoding="utf-8")
    strikes = len(json.loads(text)["Table"])
    path, clock = lake.settings.root / "lot_sizes.csv", Clock()
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER + "BSE,SENSEX,2026-01-01,\n", encoding="utf-8")
    reference = ReferenceData(SessionCalendar.load(), LotSizes(path, clock))
    tap = StreamTap(lake.settings)
    reader = MessageReader("bse-json", reference, Delivery(tap, "some-feed"), exchange="BSE")

    def take() -> None:
        assert reader.take(Message(text, time.time_ns()))

    take()
    path.write_text(HEADER + "BSE,SENSEX,2026-01-01,40\n", encoding="utf-8")
    take()
    clock.now += 1.0
    take()
    path.write_text(HEADER + "BSE,SENSEX,2026-01-01,a few\n", encoding="utf-8")
    clock.now += 1.0
    take()
    assert tap.close()
    rejected = lake.rows("quarantine")
    assert {row["reason"] for row in rejected} == {"unknown_lot_size"}
    assert len(rejected) == 2 * 2 * strikes
    rows = lake.rows()
    assert len(rows) == 2 * 2 * strikes
    assert {row["lot_size"] for row in rows} == {40}
    contracts = [float((leg["Open_Interest"] or "0").replace(",", "")) for leg in json.loads(text)["Table"]]
    puts = {row["strike"]: row["oi"] for row in rows if row["option_type"] == "PE"}
    assert sum(oi or 0 for oi in puts.values()) == 40 * sum(contracts)
