"""Rejected pieces of chains, made again from what quarantine keeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from catalog.reference import ReferenceData
from ingest.events import CHAIN_TABLE, FEATURE_TABLE, ChainUpdate
from ingest.origins import first_present
from ingest.rejects import Kept
from ingest.retry_lines import LinesAgain
from ingest.sources.chain import Chain
from ingest.sources.csv_table import LINE_TOO_LONG, read_row
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.wire_format import OPTION_TYPES, BoundField, OptionType, WireFormat, bind

_SIDES: Final[Mapping[OptionType, str]] = {"CE": "calls", "PE": "puts"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A row of quarantine with its JSON read.

    Attributes:
        kept: The row.
        payload: What was rejected.
        origin: Where it comes from.
    """

    kept: Kept
    payload: Any
    origin: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One row of quarantine on its second way.

    Attributes:
        kept: The row.
        update: The row of a table that it is now, alone in an update; None if it still is none.
        failure: Reason and detail of why it still is none.
    """

    kept: Kept
    update: ChainUpdate | None
    failure: tuple[str, str] | None = None


def merged(attempts: Iterable[Attempt]) -> list[ChainUpdate]:
    """The pieces of one input together in an update: converting one is as much work as converting all."""
    updates = [attempt.update for attempt in attempts if attempt.update is not None]
    whole = [update for update in updates if not (update.calls or update.puts)]
    chains: dict[tuple[str, str, str], list[ChainUpdate]] = {}
    for update in updates:
        if update.calls or update.puts:
            # Lines that stood in one chain may be of another one, whose first they are.
            of = (str(update.exchange), str(update.symbol), str(update.event_time))
            chains.setdefault(of, []).append(update)
    for legs in chains.values():
        calls = [leg for update in legs for leg in update.calls]
        puts = [leg for update in legs for leg in update.puts]
        whole.append(replace(legs[0], calls=calls, puts=puts))
    return whole


def legs_again(
    opened: Sequence[Opened],
    wires: Mapping[str, WireFormat],
    reference: ReferenceData,
    lines: LinesAgain,
) -> list[Attempt]:
    """Legs of one chain in a wire format, by what that format is now.

    Args:
        opened: Rows whose origin is a leg, of one chain, in order.
        wires: Formats by name.
        reference: Calendar and lot sizes as they are now.
        lines: Reads lines that are too long to be kept.
    """
    about = opened[0].origin
    wire = wires.get(about["format"])
    if wire is None:
        failure = ("unknown_source", f"there is no wire format {about['format']!r} any more")
        return [Attempt(each.kept, None, failure) for each in opened]
    if wire.exchange is None:
        wire = replace(wire, exchange=about["exchange"])
    moment = about.get("event_moment")
    event_time = about["event_time"] if moment is None else datetime.fromisoformat(moment)
    chains = {
        (wire.symbol(about["symbol"]), wire.moment(event_time)): _ChainAgain(
            Chain(
                wire,
                reference,
                symbol=about["symbol"],
                event_time=event_time,
                underlying_price=about["underlying_price"],
            )
        )
    }
    layouts: dict[tuple[OptionType, tuple[str, ...]], tuple[BoundField, ...]] = {}
    failed = []
    for each in opened:
        leg = _leg(each, wire, lines)
        if not isinstance(leg, _Leg):
            failed.append(Attempt(each.kept, None, leg))
            continue
        symbol = about["symbol"] if leg.symbol is None else leg.symbol
        at = event_time if leg.event_time is None else leg.event_time
        of = (wire.symbol(symbol), wire.moment(at))
        if of not in chains:
            chains[of] = _ChainAgain(Chain(wire, reference, symbol=symbol, event_time=at))
        layout = (leg.option_type, tuple(leg.raw))
        if layout not in layouts:
            layouts[layout] = bind(wire.fields(leg.option_type), leg.raw)
        chains[of].add(each, leg, layouts[layout])
    return [*failed, *(attempt for chain in chains.values() for attempt in chain.attempts())]


class _Leg(NamedTuple):
    """A leg as it came.

    Attributes:
        raw: Its fields.
        option_type: Call or put.
        strike: As it came.
        expiry: As it came.
        symbol: As its own line says it; None where only its chain does.
        event_time: As its own line says it; None where only its chain does.
    """

    raw: Mapping[str, Any]
    option_type: OptionType
    strike: Any
    expiry: Any
    symbol: Any = None
    event_time: Any = None


def _leg(each: Opened, wire: WireFormat, lines: LinesAgain) -> _Leg | tuple[str, str]:
    """A leg as it came; or reason and detail of why it is none."""
    origin = each.origin
    symbol = event_time = None
    said, strike, expiry = origin["option_type"], origin["strike"], origin["expiry"]
    if (day := origin.get("expiry_day")) is not None:
        expiry = date.fromisoformat(day)
    raw = origin.get("raw", each.payload)
    if origin.get("line") is not None:
        try:
            row = read_row(line_again(each, lines), origin["header"])
        except NotARecordingError as error:
            return error.reason, error.detail
        if row.fault is not None:
            return row.fault
        raw = row.fields
        if origin["option_type_name"] is not None:
            said = raw.get(origin["option_type_name"])
        # What the line has not, its file had said.
        strike = first_present(raw, wire.strike_names, strike)
        expiry = first_present(raw, wire.expiry_names, expiry)
        # A line that cannot be read is taken for one of the chain before it, and may be the next one's first.
        symbol = first_present(raw, wire.symbol_names)
        event_time = first_present(raw, wire.time_names)
    if not isinstance(raw, Mapping) or "repeated_names" in raw:
        # No format can tell what such a leg means.
        return each.kept.reason, "it is no leg, whatever the format"
    option_type = next((one for one in OPTION_TYPES if one == said), None) or wire.option_type(said)
    if option_type is None:
        return "bad_option_type", f"{said!r} is neither a call nor a put"
    return _Leg(raw, option_type, strike, expiry, symbol, event_time)


def line_again(each: Opened, lines: LinesAgain) -> str:
    """The line of an origin that has one.

    Raises:
        NotARecordingError: It was too long to be kept and is not to be had, or still is too long.
    """
    origin = each.origin
    if (place := origin.get("place")) is not None:
        return lines.text(place)
    if each.kept.reason == LINE_TOO_LONG:
        # By an earlier version, which did not keep where it stands.
        raise NotARecordingError(LINE_TOO_LONG, "only its beginning is kept: load its file again")
    line: str = origin["line"]
    return line


class _ChainAgain:
    """A chain in the making, and the rows its legs come from."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._added: list[tuple[Kept, OptionType | None]] = []

    def add(self, each: Opened, leg: _Leg, fields: tuple[BoundField, ...]) -> None:
        is_leg = self._chain.add(leg.option_type, leg.raw, fields, strike=leg.strike, expiry=leg.expiry)
        self._added.append((each.kept, leg.option_type if is_leg else None))

    def attempts(self) -> Iterator[Attempt]:
        """Pair what the chain made of each leg with the row it came from; nothing may be added after."""
        update = self._chain.finish(b"")
        made = {side: iter(getattr(update, _SIDES[side])) for side in OPTION_TYPES}
        rejects = iter(update.rejects)
        for kept, option_type in self._added:
            if option_type is None:
                reject = next(rejects)
                yield Attempt(kept, None, (reject.reason, reject.detail))
                continue
            leg = [next(made[option_type])]
            calls, puts = (leg, []) if option_type == "CE" else ([], leg)
            one = replace(
                update, calls=calls, puts=puts, rejects=(), identity=None, raw_legs=None,
                received_ns=kept.received_us * 1000, source=kept.source,
            )  # fmt: skip
            yield Attempt(kept, one)


def update_again(each: Opened) -> Attempt:
    """A piece of an update that an app offered."""
    kept, origin, payload = each.kept, each.origin, each.payload
    update = ChainUpdate(
        exchange=origin["exchange"],
        symbol=origin["symbol"],
        event_time=origin["event_time"],
        received_ns=kept.received_us * 1000,
        expiry=origin["expiry"],
        context=origin["context"],
        source=kept.source,
    )
    if kept.meant_for == CHAIN_TABLE:
        option_type = origin["option_type"]
        if option_type not in _SIDES or not isinstance(payload, Mapping):
            return Attempt(kept, None, (kept.reason, "what was handed over is no leg, whatever the rules"))
        setattr(update, _SIDES[option_type], [payload])
    elif kept.meant_for == FEATURE_TABLE:
        update.features = payload
    else:
        update.signal = payload
    return Attempt(kept, update)
