"""A writer looks after the lake once a session, in the quiet time, and survives whatever goes wrong there."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from deltalake import DeltaTable

from catalog.reference import ReferenceData
from ingest.after_close import AfterClose
from ingest.committer import Committer
from ingest.convert import convert
from ingest.events import ChainUpdate
from lake.maintenance import maintenance_lock
from lake.spool import Spool

# Friday 2026-11-20: NSE and BSE trade 09:15 to 15:40 in India, which is 03:45 to 10:10 UTC.
BEFORE_OPEN = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
IN_SESSION = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
JUST_CLOSED = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
AFTER_CLOSE = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
NEXT_EVENING = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def files(lake: Any) -> int:
    return len(DeltaTable(str(lake.settings.lake.path("option_chain"))).file_uris())


@pytest.fixture
def minutes(lake: Any, reference: ReferenceData) -> Any:
    """Three micro-batches of the session of 2026-11-20."""
    committer = Committer(lake.settings)
    spool = Spool(lake.spool())
    for first in (1, 11, 21):
        given = lake.update(first, 10, event_time=IN_SESSION)
        done = convert([ChainUpdate(received_ns=int(IN_SESSION.timestamp() * 1e9), **given)], reference)
        spool.put(done.entries, offered=done.offered)
        committer.flush()
    spool.close()
    committer.close()
    assert files(lake) == 3
    return lake


def upkeep(lake: Any, reference: ReferenceData, settled_s: float = 0.0) -> AfterClose:
    return AfterClose(lake.settings.lake, reference.calendar, settled_s=settled_s)


def test_nothing_is_done_while_a_session_is_open_or_has_only_just_closed(
    minutes: Any, reference: ReferenceData
) -> None:
    after_close = upkeep(minutes, reference)
    assert not after_close.run_if_due(IN_SESSION)
    assert not after_close.run_if_due(JUST_CLOSED)
    assert files(minutes) == 3


def test_a_session_that_closed_is_looked_after_once(minutes: Any, reference: ReferenceData) -> None:
    after_close = upkeep(minutes, reference)
    assert after_close.run_if_due(AFTER_CLOSE)
    assert files(minutes) == 1
    assert minutes.strikes() == [float(i) for i in range(1, 31)]
    assert not after_close.run_if_due(AFTER_CLOSE)
    assert after_close.run_if_due(NEXT_EVENING), "the next session has closed"


def test_a_writer_that_starts_before_the_open_makes_up_for_the_day_before(
    minutes: Any, reference: ReferenceData
) -> None:
    after_close = upkeep(minutes, reference)
    assert after_close.run_if_due(BEFORE_OPEN)
    assert files(minutes) == 3, "the session of that day is not finished"
    assert upkeep(minutes, reference).run_if_due(datetime(2026, 11, 23, 3, 0, tzinfo=UTC))
    assert files(minutes) == 1


def test_a_writer_that_has_only_just_started_leaves_it(minutes: Any, reference: ReferenceData) -> None:
    assert not upkeep(minutes, reference, settled_s=3600).run_if_due(AFTER_CLOSE)
    assert files(minutes) == 3


def test_another_process_that_is_at_it_is_no_problem(
    minutes: Any, reference: ReferenceData, caplog: pytest.LogCaptureFixture
) -> None:
    with maintenance_lock(minutes.settings.lake.path("option_chain")), caplog.at_level(logging.INFO):
        assert upkeep(minutes, reference).run_if_due(AFTER_CLOSE)
    assert "maintained by another process" in caplog.text
    assert files(minutes) == 3


def test_a_damaged_table_is_logged_and_raises_nothing(
    minutes: Any, reference: ReferenceData, caplog: pytest.LogCaptureFixture
) -> None:
    folder = minutes.settings.lake.path("option_chain")
    (first, *_) = sorted(folder.glob("*=*/*=*/*.parquet"))
    first.write_bytes(first.read_bytes()[:-10])
    with caplog.at_level(logging.ERROR):
        assert upkeep(minutes, reference).run_if_due(AFTER_CLOSE)
    assert "table not maintained" in caplog.text
    assert files(minutes) == 3, "a damaged file is not compacted away"
