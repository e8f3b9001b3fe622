"""Turn candles into rows that keep the contract, and everything else into rejects."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.reference import ReferenceData
from ingest.candle_rows import CandleRows
from ingest.convert import Converted
from ingest.events import CANDLE_TABLE, CandleUpdate, Reject, candles_offered
from ingest.live_values import moment_of
from ingest.quarantine import quarantined
from lake.spool import Entry


def convert_candles(updates: Iterable[CandleUpdate], reference: ReferenceData) -> Converted:
    """Convert updates of candles; every candle becomes exactly one row or one reject.

    Args:
        updates: As source adapters yield them.
        reference: Calendar: when a candle's session closed.
    """
    done = Converted()
    collected: dict[str, CandleRows] = {}
    for update in updates:
        for key, count in candles_offered(update).items():
            done.offered[key] = done.offered.get(key, 0) + count
        if update.identity is not None:
            done.identities.append(update.identity)
        rows = collected.setdefault(update.exchange, CandleRows(update.exchange, reference.calendar))
        rejects = [*update.rejects, *rows.add(update)]
        if rejects:
            _file(update, rejects, reference, done)
    for exchange, rows in collected.items():
        if (table := rows.finish()) is not None:
            done.entries.append(Entry(CANDLE_TABLE, exchange, CANDLE_TABLE, table))
    return done


def _file(update: CandleUpdate, rejects: list[Reject], reference: ReferenceData, done: Converted) -> None:
    received = reference.calendar.session_date(update.exchange, moment_of(update.received_ns))
    filed = quarantined(
        rejects,
        exchange=update.exchange,
        day=update.day or received,
        received_ns=update.received_ns,
        source=update.source,
        identity=update.identity,
    )
    done.entries += filed.entries
    done.files += filed.files
    for reject in rejects:
        done.rejects[reject.reason] = done.rejects.get(reject.reason, 0) + 1
