"""Messages of live sources that could not be read come in whole, once, when their format can be read."""

from __future__ import annotations

import ast
import gzip
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.messages import MessageReader
from ingest.retry import retry
from ingest.sources import bse_json, nse_json, upstox_log
from ingest.sources.recorded_file import NotARecordingError
from ingest.tap import StreamTap

NSE = "nse_api_json/v1/nifty_option_chain.at_9713306.json.gz"
BSE = "bse_api_json"
UPSTOX = "upstox_chain_log/FinNifty.2025-01-23.payload_lines.log.gz"
FORMATS = {"nse-json": ("NSE", nse_json), "bse-json": ("BSE", bse_json), "upstox-chain": ("NSE", upstox_log)}


def message_of(samples: Path, name: str) -> str:
    if name == "nse-json":
        return gzip.decompress((samples / NSE).read_bytes()).decode()
    if name == "bse-json":
        file = min((samples / BSE).rglob("*.json*"))
        content = file.read_bytes()
        return (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    line = gzip.decompress((samples / UPSTOX).read_bytes()).decode().splitlines()[0]
    return json.dumps(ast.literal_eval(line.partition("Data fetched successfully: ")[2]))


def received_ns(name: str) -> int:
    """For Upstox, which has no times of its own, while its chain was quoted."""
    if name == "upstox-chain":
        return int(datetime(2025, 1, 23, 8, 23, 25, tzinfo=UTC).timestamp()) * 1_000_000_000
    return time.time_ns()


def values(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in row.items() if name not in {"batch_id", "dq_flags"})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_message_comes_in_as_if_it_had_been_read_at_once(
    lake: Any, tmp_path: Path, samples: Path, name: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, adapter = FORMATS[name]
    text = message_of(samples, name)
    content = text if kind is str else text.encode()
    message = Message(content, received_ns(name))
    reference = ReferenceData.load()

    def broken(*_: object) -> Any:
        raise NotARecordingError("unknown_shape", "a field was renamed")

    for is_broken in (True, False):
        with monkeypatch.context() as patch:
            if is_broken:
                patch.setattr(adapter, "chains_of", broken)
            tap = StreamTap(lake.settings)
            delivery = Delivery(tap, "some-feed")
            assert MessageReader(name, reference, delivery, exchange=exchange).take(message) is not is_broken
            assert tap.close()
        if is_broken:
            (kept,) = lake.rows("quarantine")
            assert (kept["reason"], kept["source"]) == ("unknown_shape", "some-feed")
            first = retry(lake.settings)
            assert (first.tried, first.accepted) == (1, 1)
            retried = Counter(map(values, lake.rows()))
            assert first.rows["option_chain"] == sum(retried.values()) > 0
            again = retry(lake.settings)
            assert (again.tried, sum(retried.values())) == (0, len(lake.rows()))
    # The second time it was read at once: every row is there twice, and the same.
    assert Counter(map(values, lake.rows())) == Counter({row: 2 * n for row, n in retried.items()})
    assert lake.totals()["difference"] == 0
    assert lake.totals(app_id="backfill")["difference"] == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [("<html>blocked</html>", "html_instead_of_json"), ("{", "bad_json"), (b"\xff\xfe", "undecodable")],
)
def test_what_is_no_chain_in_any_format_stays_with_its_reason(
    lake: Any, content: str | bytes, reason: str
) -> None:
    tap = StreamTap(lake.settings)
    reader = MessageReader("nse-json", ReferenceData.load(), Delivery(tap, "some-feed"), exchange="NSE")
    assert not reader.take(Message(content, time.time_ns()))
    assert tap.close()
    (kept,) = lake.rows("quarantine")
    summary = retry(lake.settings)
    assert (summary.tried, summary.accepted, list(summary.failed)) == (1, 0, [kept["reason"]])
    if reason != "bad_json":
        assert kept["reason"] == reason
