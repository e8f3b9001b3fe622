"""Long tables: a row is one leg, all rows of a poll stand together and carry its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.origins import Line
from ingest.sources.base import identity_of
from ingest.sources.chain import Chain, Occurrences
from ingest.sources.csv_table import TABLE_CHARACTERS, Row
from ingest.sources.growth import Growth
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import shown
from ingest.sources.wire_format import BoundField, WireFormat, bind


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTable:
    """How the legs of a long table become chains, holding one poll in memory.

    A leg that comes again begins the same poll once more: a file to which its own rows were appended
    holds the poll twice, and the first of the two is still the one that was there before.

    Attributes:
        wire: The format; of its names, the first of each kind is the column.
        symbol_of: The underlying of a row, as it came.
    """

    wire: WireFormat
    symbol_of: Callable[[Mapping[str, Any]], object]

    @property
    def needed(self) -> tuple[tuple[str, ...], ...]:
        """The columns without which no row can be read, each with its alternative names."""
        return (*self.wire.key_names, *(field.names for field in self.wire.calls))

    def chains(
        self, rows: Iterable[Row], header: Sequence[str], header_text: str, reference: ReferenceData
    ) -> Iterator[ChainUpdate]:
        """Yield one chain per poll and underlying, in the order of the rows.

        Args:
            rows: Legs; a damaged row belongs to the poll it stands in.
            header: Columns of the rows.
            header_text: The header as it stands, part of the identity.
            reference: Calendar and lot sizes.

        Raises:
            NotARecordingError: `too_large`: a poll that cannot be held in memory.
        """
        fields = bind(self.wire.calls, header)
        occurrences = Occurrences()
        poll: list[Row] = []
        characters = 0
        poll_time: object = None
        legs: set[tuple[object, ...]] = set()
        time_name = self.wire.time_names[0]
        key = (
            self.wire.symbol_names[0],
            self.wire.expiry_names[0],
            self.wire.option_type_names[0],
            self.wire.strike_names[0],
        )
        for row in rows:
            if row.fault is None:
                leg = tuple(row.fields[name] for name in key)
                if row.fields[time_name] != poll_time or leg in legs:
                    if legs:
                        yield from self._finished(
                            poll, poll_time, fields, (header, header_text, reference, occurrences)
                        )
                        poll, legs = [], set()
                    poll_time = row.fields[time_name]
                legs.add(leg)
            poll.append(row)
            characters = len(row.text) + (characters if len(poll) > 1 else 0)
            if characters > TABLE_CHARACTERS:
                raise NotARecordingError(
                    "too_large", f"more than {TABLE_CHARACTERS:,} characters in one poll"
                )
        if poll:
            around = (header, header_text, reference, occurrences)
            yield from self._finished(poll, poll_time, fields, around)

    def _finished(
        self,
        poll: list[Row],
        poll_time: object,
        fields: tuple[BoundField, ...],
        around: tuple[Sequence[str], str, ReferenceData, Occurrences],
    ) -> Iterator[ChainUpdate]:
        """Yield one chain per symbol of a poll."""
        header, header_text, reference, occurrences = around
        for symbol, rows in self._by_symbol(poll):
            chain = Chain(self.wire, reference, symbol=symbol, event_time=poll_time)
            counts = []
            for row in rows:
                if row.fault is not None:
                    line = Line(row.text, tuple(header), self.wire.option_type_names[0], row.place)
                    chain.reject(None, *row.fault, row.payload, line=line)
                else:
                    self._add(chain, row.fields, fields)
                counts.append(chain.counts)
            symbol_text, time_text = ("" if each is None else str(each) for each in (symbol, poll_time))
            fixed = (self.wire.source, symbol_text, time_text, header_text)
            growth = Growth(fixed, [row.identified for row in rows], counts)
            content = identity_of(*fixed, *growth.rows)
            identity = occurrences.identity(content)
            yield chain.finish(identity, growth if identity == content else None)

    def _add(self, chain: Chain, leg: dict[str, Any], fields: tuple[BoundField, ...]) -> None:
        option_type_name = self.wire.option_type_names[0]
        said = leg[option_type_name]
        option_type = self.wire.option_type(said)
        strike, expiry = leg[self.wire.strike_names[0]], leg[self.wire.expiry_names[0]]
        if option_type is None:
            detail = f"{option_type_name}: {shown(said)} is neither a call nor a put"
            chain.reject(None, "bad_option_type", detail, leg, said=said, strike=strike, expiry=expiry)
            return
        chain.add(option_type, leg, fields, strike=strike, expiry=expiry)

    def _by_symbol(self, poll: list[Row]) -> Iterator[tuple[object, list[Row]]]:
        """Group rows in order; a damaged row goes with the one before, the first ones with the one after."""
        groups: dict[object, list[Row]] = {}
        symbol: object = None
        early: list[Row] = []
        for row in poll:
            if row.fault is None:
                symbol = self.symbol_of(row.fields)
            elif not groups:
                early.append(row)
                continue
            groups.setdefault(symbol, []).extend((*early, row))
            early = []
        yield from groups.items()
        if early:
            yield None, early
