"""What the formats of an exchange's daily file of all contracts, the bhavcopy, share.

A row is one contract and one session. Rows of one underlying stand together; such a run is what is taken in
together, so that memory does not grow with the file. A file that was cut short has a part of a run: each row
has an identity beside that of its run, so that of a run in another form only the rows that are new are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from catalog.contracts import SESSION_INTERVAL_S
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate, Reject
from ingest.origins import Origin, RowOrigin
from ingest.sources.base import identity_of
from ingest.sources.candle_format import (
    CandleFormat,
    CandleOrigin,
    Instrument,
    candle,
    rejected,
    underlying,
    update,
)
from ingest.sources.csv_table import CsvTable, Row
from ingest.sources.recorded_file import open_lines, report_unknown_names
from ingest.sources.values import BadValueError, shown, strike_price
from ingest.sources.wire_format import OPTION_TYPES, UNKNOWN_LOT_SIZE, bind

RUN_ROWS: Final = 2_000
"""Rows of one run at most."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a row is of.

    Attributes:
        instrument: The contract.
        start: Midnight of its session.
    """

    instrument: Instrument
    start: datetime

    @property
    def day(self) -> date:
        """Its session."""
        return self.start.date()


def contract_in(
    wire: CandleFormat, row: Mapping[str, str], exchange: str, *, kind_name: str, not_an_option: str
) -> Contract:
    """Return what a row is of, by the names that its format declares.

    Args:
        wire: The format.
        row: The row as it came.
        exchange: Where it was traded.
        kind_name: Column that says what kind of contract it is.
        not_an_option: What stands for call or put in the row of a future.

    Raises:
        BadValueError: `bad_event_time`, `bad_expiry`, `bad_symbol`, `bad_strike` or `unknown_instrument`.
    """
    time_name, expiry_name, option_type_name = (
        names[0] for names in (wire.time_names, wire.expiry_names, wire.option_type_names)
    )
    start = wire.moment(row[time_name])
    if start is None:
        raise BadValueError("bad_event_time", f"{time_name}: {shown(row[time_name])} is no date")
    expiry = None if wire.expiry is None else wire.expiry(row[expiry_name])
    if expiry is None:
        raise BadValueError("bad_expiry", f"{expiry_name}: {shown(row[expiry_name])} is no date")
    symbol = underlying(wire, row[wire.symbol_names[0]])
    kind, option_type = wire.kinds.get(row[kind_name].strip()), row[option_type_name].strip()
    if kind == "future" and option_type == not_an_option:
        return Contract(Instrument(exchange, symbol, kind, expiry), start)
    if kind == "option" and option_type in OPTION_TYPES:
        strike = strike_price(row[wire.strike_names[0]], wire.nulls)
        return Contract(Instrument(exchange, symbol, kind, expiry, strike, option_type), start)
    raise BadValueError(
        "unknown_instrument",
        f"{kind_name} {shown(row[kind_name])} with {option_type_name} {shown(option_type)}",
    )


@dataclass(frozen=True, slots=True)
class Bhavcopy:
    """One format of them.

    Attributes:
        wire: Its declaration.
        run_names: Columns whose values tell one run from the next.
        contract_of: Reads what a row is of; raises BadValueError.
        lot_size_of: Says how many units of the underlying its contract is; raises BadValueError.
        check_file: Refuses a file by its first readable row; raises NotARecordingError.
        lot_in_row: Whether each row brings its lot, so that no table may stand in for one that it lacks.
    """

    wire: CandleFormat
    run_names: tuple[str, ...]
    contract_of: Callable[[Mapping[str, str]], Contract]
    lot_size_of: Callable[[Mapping[str, str], Contract, ReferenceData], int]
    check_file: Callable[[Mapping[str, str]], None] = lambda _: None
    lot_in_row: bool = False

    def updates(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate]:
        """Yield the runs of a file in its order.

        Raises:
            NotARecordingError: The file, or what follows, is no recording of this format.
            OSError: The file cannot be opened or read.
        """
        with open_lines(path) as lines:
            table = CsvTable(lines, self.wire.needed)
            report_unknown_names(self.wire, path, [name for name in table.header if name])
            yield from _Runs(self, path, table, reference).of(table.rows())
            lines.check()


@dataclass(slots=True)
class _Run:
    """Rows of one underlying that stand together."""

    key: tuple[str, ...]
    candles: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    candle_parts: list[bytes] = field(default_factory=list)
    reject_parts: list[bytes] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    contract: Contract | None = None
    lacks_lot: bool = False

    def reject(self, reject: Reject, part: bytes) -> None:
        """Keep what is no candle."""
        self.rejects.append(reject)
        self.reject_parts.append(part)


class _Runs:
    """One file in the reading."""

    def __init__(self, bhavcopy: Bhavcopy, path: Path, table: CsvTable, reference: ReferenceData) -> None:
        self._of = bhavcopy
        self._path, self._header_text = path, table.header_text
        self._reference = reference
        self._fields = bind(bhavcopy.wire.fields, table.header)
        # What else stands in a row (a row number, a column of tomorrow) makes it no other row.
        self._named = [names[0] for names in bhavcopy.wire.needed]
        self._row_identity = identity_of(bhavcopy.wire.source, "row", *self._named)

    def of(self, rows: Iterator[Row]) -> Iterator[CandleUpdate]:
        run: _Run | None = None
        checked = False
        for row in rows:
            if row.fault is None and not checked:
                self._of.check_file(row.fields)
                checked = True
            # A damaged row belongs to the run it stands in.
            key = run.key if run is not None and row.fault is not None else self._key(row)
            if run is None or run.key != key or len(run.raw) >= RUN_ROWS:
                if run is not None:
                    yield self._finished(run)
                run = _Run(key)
            self._add(run, row)
        if run is not None:
            yield self._finished(run)

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row.fields.get(name, "") for name in self._of.run_names)

    def _add(self, run: _Run, row: Row) -> None:
        if row.fault is not None:
            run.raw.append(row.text)
            digest = row.place.sha256 if row.place is not None else ""
            part = identity_of(self._row_identity, row.fault[0], row.text, digest)
            run.reject(rejected(*row.fault, row.payload, self._as_row(row)), part)
            return
        values = "\x1f".join(row.fields[name] for name in self._named)
        run.raw.append(values)
        part = identity_of(self._row_identity, values)
        # A reject has another identity: once it can be read, a load of another form of its run brings it in.
        known: CandleOrigin | None = None
        try:
            contract = run.contract = self._of.contract_of(row.fields)
            start = contract.start
            described = CandleOrigin(self._of.wire, contract.instrument, start, SESSION_INTERVAL_S, None)
            known = None if self._of.lot_in_row else described
            lot_size = self._of.lot_size_of(row.fields, contract, self._reference)
            known = replace(described, lot_size=lot_size)
            run.candles.append(
                candle(
                    self._of.wire, row.fields, self._fields, contract.instrument,
                    start=start, interval_s=SESSION_INTERVAL_S, lot_size=lot_size,
                )
            )  # fmt: skip
        except BadValueError as error:
            run.lacks_lot = run.lacks_lot or error.reason == UNKNOWN_LOT_SIZE
            loads_as = part.hex()
            origin: Origin = self._as_row(row, loads_as)
            if known is not None:
                origin = replace(known, loads_as=loads_as)
            reject = rejected(error.reason, error.detail, row.fields, origin)
            run.reject(reject, identity_of(part, error.reason))
        else:
            run.candle_parts.append(part)

    def _as_row(self, row: Row, loads_as: str | None = None) -> RowOrigin:
        return RowOrigin(self._path, self._header_text, row.text, loads_as, row.place)

    def _finished(self, run: _Run) -> CandleUpdate:
        identity = identity_of(self._of.wire.source, *self._named, *run.raw)
        if run.lacks_lot:
            # Another identity: once the lot size is known, loading the same file again brings the rows in.
            identity = identity_of(identity, UNKNOWN_LOT_SIZE)
        contract = run.contract
        return update(
            self._of.wire,
            contract.instrument if contract else None,
            day=contract.day if contract else None,
            candles=run.candles,
            rejects=run.rejects,
            identity=identity,
            parts=(*run.candle_parts, *run.reject_parts),
        )
