"""Tables of one chain: a file is one moment of one expiry, a row one strike with both legs.

What such a file does not say, its name, its folder or the person who loads it has to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.origins import Line
from ingest.sources.base import identity_of
from ingest.sources.chain import Chain
from ingest.sources.csv_table import TABLE_CHARACTERS, CsvTable
from ingest.sources.growth import Growth
from ingest.sources.recorded_file import TextLines, report_unknown_names
from ingest.sources.wire_format import OPTION_TYPES, WireFormat, bind


def needed_columns(wire: WireFormat, *, optional: tuple[str, ...] = ()) -> tuple[tuple[str, ...], ...]:
    """The columns without which no row can be read; fields of `optional` canonical columns may be missing."""
    fields = (field for field in (*wire.calls, *wire.puts) if field.column not in optional)
    return (wire.strike_names, *dict.fromkeys(field.names for field in fields))


def one_chain(
    lines: TextLines,
    table: CsvTable,
    wire: WireFormat,
    path: Path,
    reference: ReferenceData,
    *,
    symbol: object,
    event_time: object,
    expiry: object,
) -> Iterator[ChainUpdate]:
    """Yield the one chain of a file, every leg of it a mapping or a reject.

    Args:
        lines: The lines of the file.
        table: Its header, and the rows below it.
        wire: The format.
        path: The file.
        reference: Calendar and lot sizes.
        symbol: Underlying as it came.
        event_time: Time as it came.
        expiry: Expiry as it came.

    Raises:
        NotARecordingError: `header_only`, or, after the chain, `undecodable`.
    """
    report_unknown_names(wire, path, table.header)
    sides = [(option_type, bind(wire.fields(option_type), table.header)) for option_type in OPTION_TYPES]
    strike_name = next(name for name in wire.strike_names if name in table.header)
    chain = Chain(wire, reference, symbol=symbol, event_time=event_time)
    raw, counts = [], []
    for row in table.rows(limit_characters=TABLE_CHARACTERS):
        raw.append(row.identified)
        for option_type, fields in sides:
            if row.fault is not None:
                line = Line(row.text, tuple(table.header), place=row.place)
                chain.reject(option_type, *row.fault, row.payload, expiry=expiry, line=line)
            else:
                chain.add(option_type, row.fields, fields, strike=row.fields[strike_name], expiry=expiry)
        counts.append(chain.counts)
    said = (str(each) for each in (symbol, event_time, expiry))
    growth = Growth((wire.source, *said, table.header_text), raw, counts)
    yield chain.finish(identity_of(*growth.fixed, *growth.rows), growth)
    lines.check()
