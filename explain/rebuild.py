"""A signal made again from the lake: the features that were known then, and the model that was asked then."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from catalog.contracts import SIGNALS
from catalog.features import FeatureRow, feature_names, feature_rows, features_at
from catalog.reference import ReferenceData
from explain.model_folder import find_model
from explain.signals import Depth, Signal, SignalGenerator
from lake.errors import ModelNotReadableError, NotEnoughDataError, TableNotFoundError
from lake.session import Session
from lake.table import Lake

_RECORDED = f"""
SELECT * EXCLUDE (date, batch_id, received_time)
FROM {SIGNALS.table}
WHERE exchange = $exchange AND date = $date AND symbol = $symbol AND event_time = $event_time
ORDER BY received_time DESC, batch_id DESC
LIMIT 1
"""
_SINCE = frozenset({"expected", "raw_score"})
"""Columns that signals of earlier versions lack, and those of an app that does not record them."""

_OF_THE_DEPTH = frozenset({"top_features", "narrative", *_SINCE})
"""What another depth tells otherwise."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A signal made again, beside the one that was recorded.

    Attributes:
        signal: Made from the lake.
        recorded: What the table `signals` has of that moment and symbol, None if nothing.
        differences: What differs between the two, in words; empty if nothing does.
    """

    signal: Signal
    recorded: Mapping[str, Any] | None
    differences: tuple[str, ...]


def rebuild_signal(
    lake: Lake,
    models: Path,
    exchange: str,
    symbol: str,
    at: datetime,
    *,
    of_event: bool = False,
    version: str | None = None,
    depth: str | None = None,
) -> Rebuilt:
    """Make the signal again that could be made of a symbol at a moment.

    Args:
        lake: The lake; rows that are only spooled count.
        models: Folder of all models.
        exchange: `NSE` or `BSE`.
        symbol: Underlying.
        at: The moment, with zone: only what was known by then is looked at.
        of_event: `at` is the event time of a row of features instead, whenever that row was known.
        version: The model; by default the one that the recorded signal names, else the one made last.
        depth: See `SignalGenerator`; by default that of the recorded signal, else `exact`.

    Raises:
        NotEnoughDataError: No chain of the symbol was known by then.
        ModelNotFoundError: There is no such model.
        ModelNotReadableError: The model cannot be read, or is another exchange's.
        ContractError: The features will not do for the model.
        TableNotFoundError: The lake has no chains.
    """
    with Session(lake, live=True) as session:
        if "option_chain" not in session.snapshots:
            raise TableNotFoundError(f"the lake at {lake.root} has no chains")
        if of_event:
            row = _row_of(session, exchange, symbol, at)
        else:
            row = features_at(session, exchange, symbol, at)
        recorded = _recorded(session, exchange, symbol, row.event_time)
    named = None if recorded is None else str(recorded["model_version"])
    folder = find_model(models, exchange, version or named)
    chosen = depth or (recorded or {}).get("depth")
    wanted: Depth = "context" if chosen == "context" else "exact"
    generator = SignalGenerator(folder, depth=wanted, allow_missing=True)
    if generator.info.exchange != exchange:
        raise ModelNotReadableError(f"{folder} is a model of {generator.info.exchange}, not of {exchange}")
    signal = generator.generate_signal(row.values, event_time=row.event_time, symbol=symbol)
    differences = () if recorded is None else tuple(_differences(signal, recorded))
    return Rebuilt(signal, recorded, differences)


def _row_of(session: Session, exchange: str, symbol: str, event_time: datetime) -> FeatureRow:
    """The row of features of one event time; such a row never changes once it is known.

    Raises:
        NotEnoughDataError: There is none.
    """
    day = ReferenceData.load(session.lake.root).calendar.session_date(exchange, event_time)
    rows = feature_rows(session, exchange, symbols=[symbol], dates=[day])
    for row in rows.filter(pc.equal(rows.column("event_time"), event_time)).to_pylist():
        values = {name: row[name] for name in feature_names(rows)}
        return FeatureRow(row["event_time"], exchange, symbol, values)
    raise NotEnoughDataError(
        f"the lake has no features of {symbol} at {event_time:%Y-%m-%d %H:%M:%S %Z}, of which a signal is "
        "recorded: the app made it of something else"
    )


def newest_recorded(
    lake: Lake, at: datetime, *, exchange: str | None = None, symbol: str | None = None
) -> tuple[str, str, datetime]:
    """Exchange, symbol and event time of the newest signal that was recorded at or before a moment.

    Args:
        lake: The lake; signals that are only spooled count.
        at: The moment, with zone; event times are compared with it.
        exchange: Only of this one.
        symbol: Only of this underlying.

    Raises:
        NotEnoughDataError: There is none.
    """
    conditions = ["event_time <= $at"]
    given: dict[str, Any] = {"at": at}
    for name, value in (("exchange", exchange), ("symbol", symbol)):
        if value is not None:
            conditions.append(f"{name} = ${name}")
            given[name] = value
    rows: list[dict[str, Any]] = []
    with Session(lake, live=True) as session:
        if SIGNALS.table in session.snapshots:
            rows = session.table(
                f"SELECT exchange, symbol, event_time FROM {SIGNALS.table}"
                f" WHERE {' AND '.join(conditions)} ORDER BY event_time DESC, exchange, symbol LIMIT 1",
                given,
            ).to_pylist()
    if not rows:
        raise NotEnoughDataError(
            f"no signal is recorded at or before {at:%Y-%m-%d %H:%M:%S %Z}: name EXCHANGE and --symbol to "
            "make one of the features of that time"
        )
    return rows[0]["exchange"], rows[0]["symbol"], rows[0]["event_time"]


def _recorded(session: Session, exchange: str, symbol: str, event_time: datetime) -> Mapping[str, Any] | None:
    if SIGNALS.table not in session.snapshots:
        return None
    day = ReferenceData.load(session.lake.root).calendar.session_date(exchange, event_time)
    asked = {"exchange": exchange, "date": day, "symbol": symbol, "event_time": event_time}
    found = session.table(_RECORDED, asked).to_pylist()
    return found[0] if found else None


def _differences(signal: Signal, recorded: Mapping[str, Any]) -> list[str]:
    """What differs, field by field; numbers are compared bit for bit.

    Another depth tells other features, and comes to its probabilities by another sum.
    """
    told = []
    same_depth = recorded["depth"] == signal.metadata["depth"]
    for name, made in signal.to_record().items():
        there: Any = recorded.get(name)
        if there is None and name in _SINCE:
            continue
        if not same_depth and name in _OF_THE_DEPTH:
            differs = False
        elif same_depth or name not in {"probabilities", "confidence"}:
            differs = there != made
        else:
            pairs = [(there, made)] if name == "confidence" else [(there[key], made[key]) for key in made]
            differs = not all(math.isclose(one, other, abs_tol=1e-12) for one, other in pairs)
        if differs:
            told.append(f"{name}: recorded {_short(there)}, made again {_short(made)}")
    return told


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def signal_lines(rebuilt: Rebuilt) -> list[str]:
    """Lines for a terminal of 80 columns."""
    signal, told = rebuilt.signal, rebuilt.signal.metadata
    shares = ", ".join(f"{name} {share:.1%}" for name, share in signal.probabilities.items())
    regime = ", ".join(f"{name} {value}" for name, value in told["regime"].items()) or "none"
    of = f"{signal.exchange} {signal.symbol} at {signal.event_time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        *_wrapped(f"{of}: {signal.signal} ({shares})", first=""),
        *_wrapped(f"model {told['model_version']}, dataset {told['dataset']['name']}"),
        *_wrapped(f"regime: {regime}"),
        *_wrapped(told["narrative"]),
        "",
        f"  {'feature':32}{'value':>12}{'z':>8}{'share':>8}{'log-odds':>11}",
    ]
    for feature in told["top_features"]:
        value = "missing" if feature["value"] is None else f"{feature['value']:.4g}"
        z = "" if feature["z"] is None else f"{feature['z']:+.1f}"
        contribution = "" if feature["contribution"] is None else f"{feature['contribution']:+.3f}"
        lines.append(
            f"  {feature['name'][:31]:32}{value:>12}{z:>8}{feature['magnitude']:>8.1%}{contribution:>11}"
        )
    if told["raw_score"] is not None:
        named = math.fsum(one["contribution"] for one in told["top_features"])
        lines += [
            f"  {'all other features':60}{told['raw_score'] - told['expected'] - named:>+11.3f}",
            f"  {'expected: what every row starts from':60}{told['expected']:>+11.3f}",
            f"  {f'score of {signal.signal}: their sum':60}{told['raw_score']:>+11.3f}",
        ]
    if told["depth"] == "context":
        lines.append("  (context: the features that mattered most in training; no explanation)")
    for warning in told["warnings"]:
        lines += _wrapped(f"note: {warning}", further="    ")
    lines.append("")
    if rebuilt.recorded is None:
        lines.append("  no signal of this moment is recorded")
    elif not rebuilt.differences:
        lines.append("  the same as recorded, to the last bit")
    else:
        lines.append("  NOT as recorded:")
        for difference in rebuilt.differences:
            lines += _wrapped(difference, first="    ", further="      ")
    return lines


def _wrapped(text: str, *, first: str = "  ", further: str = "  ") -> list[str]:
    return textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)
