"""The rules: which value of which metric is a breach, when it is looked at, and how bad it is.

They are data, `monitors/rules.yaml`; a user's `rules.yaml` in the lake's folder is laid over it and changes
single fields, adds rules, or turns one off with `enabled: false`. Everything is checked when it is read, and
a message names file and line.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from catalog.exchanges import EXCHANGES
from lake.errors import SettingsError
from monitors.alerts import LAKE, Policy, Severity
from monitors.metrics import METRICS
from monitors.rules_file import Node, read_yaml

SHIPPED = Path(__file__).with_name("rules.yaml")
RUNBOOK = Path(__file__).with_name("runbook.md")


class Phase(StrEnum):
    """When a rule is looked at.

    Attributes:
        OPEN: While the exchange's session runs; of the lake, that of any watched exchange.
        CLOSED: While it does not.
        DAY: From the open to the end of that day.
        ALWAYS: At every check.
    """

    OPEN = "open"
    CLOSED = "closed"
    DAY = "day"
    ALWAYS = "always"


class Measure(StrEnum):
    """What of a metric is compared with the threshold.

    Attributes:
        VALUE: The value itself.
        CHANGE: The value, less what it was `over` ago (or at the first check since, of the same day).
        INCREASE: What a counter rose by in `over`, or since the last check before that. Falls do not count:
            the app started anew, or counts over hours that move on.
        DEVIATION: How far the value is from what it was at this time of day in the sessions before: in
            robust standard deviations (1.4826 x median absolute deviation) from their median.
    """

    VALUE = "value"
    CHANGE = "change"
    INCREASE = "increase"
    DEVIATION = "deviation"


COMPARISONS = (">", ">=", "<", "<=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: Stable name, also that of the alert.
        metric: What is looked at.
        measure: What of it.
        comparison: A value for which `value <comparison> threshold` holds is a breach.
        threshold: In the metric's unit; in robust standard deviations for a deviation.
        severity: How bad a breach is.
        for_s: Seconds a breach must last before the alert fires.
        phase: When the rule is looked at.
        warmup_s: Seconds after the open in which it is not.
        exchanges: Where it is looked at; `LAKE` for what concerns no exchange.
        no_data: What no value means.
        error: What it means that the metric could not be measured.
        over_s: Seconds that a change or an increase is taken over.
        sessions: Sessions before this one that a deviation is taken from, at most.
        min_sessions: Fewer are no history: there is no deviation.
        spread_floor: Least standard deviation, as a fraction of the median: sessions that happened to be
            alike must not make the next one an outlier.
        summary: The alert's text; `{value}`, `{threshold}`, labels and facts of the metric may stand in it.
        runbook: Section of the runbook.
        inhibited_by: Rules of the same exchange (or the lake) whose alerts mute this one's.
        enabled: False turns the rule off.
        origin: File and line, for messages.
    """

    name: str
    metric: str
    measure: Measure = Measure.VALUE
    comparison: str
    threshold: float
    severity: Severity
    for_s: float = 0.0
    phase: Phase
    warmup_s: float = 0.0
    exchanges: tuple[str, ...] = ()
    no_data: Policy = Policy.OK
    error: Policy = Policy.KEEP
    over_s: float = 0.0
    sessions: int = 20
    min_sessions: int = 10
    spread_floor: float = 0.1
    summary: str
    runbook: str
    inhibited_by: tuple[str, ...] = ()
    enabled: bool = True
    origin: str = ""

    def breaches(self, value: float) -> bool:
        """Whether a value is a breach."""
        return {
            ">": value > self.threshold,
            ">=": value >= self.threshold,
            "<": value < self.threshold,
            "<=": value <= self.threshold,
        }[self.comparison]

    @property
    def needs_history(self) -> bool:
        """Whether it looks at what was measured before."""
        return self.measure is not Measure.VALUE


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Every rule, and the exchanges that are watched.

    Attributes:
        rules: By name, those turned off included.
        exchanges: Exchanges that are watched.
    """

    rules: Mapping[str, Rule]
    exchanges: tuple[str, ...]

    @property
    def enabled(self) -> list[Rule]:
        """The rules that are on."""
        return [rule for rule in self.rules.values() if rule.enabled]


# Name in the file, name of the attribute where that differs.
_NAMES = {
    "for": "for_s", "warmup": "warmup_s", "over": "over_s",
}  # fmt: skip
_REQUIRED = ("metric", "comparison", "threshold", "severity", "phase", "summary", "runbook")
_TOP = ("exchanges", "rules")
_RULE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>s|m|h|d)")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = timedelta(days=31)
_SECTION = re.compile(r"^## +(?P<name>[a-z][a-z0-9_]*) *$", re.MULTILINE)


def load_rules(users: Path | None = None, *, shipped: Path = SHIPPED, runbook: Path = RUNBOOK) -> RuleSet:
    """Read the rules that are shipped and, laid over them, a user's.

    Args:
        users: The user's file; it need not exist.
        shipped: The rules that are shipped.
        runbook: Where the sections are that rules name.

    Raises:
        SettingsError: A file cannot be read or is not valid; the message names file and line.
    """
    layers = [read_yaml(shipped)]
    if users is not None and users.exists():
        layers.append(read_yaml(users))
    exchanges = tuple(EXCHANGES)
    merged: dict[str, dict[str, Node]] = {}
    defined: dict[str, Node] = {}
    for layer in layers:
        top = layer.mapping("the file") if layer.value is not None else {}
        for key, node in top.items():
            if key not in _TOP:
                raise node.error(f"{key!r} is not known here; there are: {', '.join(_TOP)}", at_key=True)
        if "exchanges" in top:
            try:
                exchanges = _exchanges(top["exchanges"], allowed=tuple(EXCHANGES))
            except SettingsError as error:
                raise top["exchanges"].error(f"exchanges: {error}") from None
        rules = top["rules"].mapping("rules") if "rules" in top else {}
        for name, node in rules.items():
            if not _RULE_NAME.fullmatch(name):
                told = "a rule's name must be lower-case letters, digits and underscores"
                raise node.error(f"{name!r}: {told}", at_key=True)
            defined.setdefault(name, node)
            given = node.mapping(f"rule {name}")
            _refuse_unknown(given, name)
            merged.setdefault(name, {}).update(given)
    sections = runbook_sections(runbook)
    made = {name: _rule(name, merged[name], defined[name], exchanges, sections) for name in merged}
    for rule in made.values():
        for other in rule.inhibited_by:
            if other not in made or other == rule.name:
                node = merged[rule.name]["inhibited_by"]
                raise node.error(f"rule {rule.name}: inhibited_by names {other!r}, which is no other rule")
    return RuleSet(made, exchanges)


def runbook_sections(runbook: Path = RUNBOOK) -> dict[str, str]:
    """Text of each section of the runbook, by name; a section begins with `## name`.

    Raises:
        SettingsError: The runbook cannot be read.
    """
    try:
        text = runbook.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the runbook {runbook} cannot be read: {error}") from error
    parts = _SECTION.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _refuse_unknown(given: Mapping[str, Node], name: str) -> None:
    for key, node in given.items():
        if key not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise node.error(f"rule {name}: the field {key!r} is not known; there are: {known}", at_key=True)


def _rule(
    name: str,
    given: Mapping[str, Node],
    defined: Node,
    watched: tuple[str, ...],
    sections: Mapping[str, str],
) -> Rule:
    for key in _REQUIRED:
        if key not in given:
            raise defined.error(f"rule {name}: {key!r} is missing", at_key=True)
    values: dict[str, Any] = {}
    for key, node in given.items():
        try:
            values[_NAMES.get(key, key)] = _READERS[key](node)
        except SettingsError as error:
            raise node.error(f"rule {name}: {key}: {error}") from None
    metric = METRICS[values["metric"]]
    named = values.get("exchanges")
    if metric.of_lake and named not in {None, (LAKE,)}:
        told = f"{metric.name} concerns no exchange: leave the field out"
        raise given["exchanges"].error(f"rule {name}: exchanges: {told}")
    places = (*watched, LAKE) if metric.everywhere else (LAKE,) if metric.of_lake else watched
    # An exchange that is not watched has no value: a rule of both exchanges stands for those that are.
    values["exchanges"] = tuple(one for one in named or places if one in places)
    rule = Rule(name=name, origin=defined.where, **values)
    needs_over = rule.measure in {Measure.CHANGE, Measure.INCREASE}
    if needs_over != (rule.over_s > 0):
        told = "needs 'over'" if needs_over else "has no use for 'over'"
        raise given.get("over", given.get("measure", defined)).error(
            f"rule {name}: measure {rule.measure} {told}"
        )
    if rule.runbook not in sections:
        told = f"the runbook has no section {rule.runbook!r}"
        raise given["runbook"].error(f"rule {name}: runbook: {told}")
    if rule.min_sessions > rule.sessions:
        told = f"{rule.min_sessions} of at most {rule.sessions} sessions can never be reached"
        raise given.get("min_sessions", given.get("sessions", defined)).error(
            f"rule {name}: min_sessions: {told}"
        )
    return rule


def _one_of(node: Node, known: Any, what: str) -> str:
    text = node.text()
    if text not in known:
        import difflib

        near = difflib.get_close_matches(text, list(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
        raise SettingsError(f"{text!r} is no {what}{hint}")
    return text


def duration(text: str, *, what: str = "") -> timedelta:
    """`90s`, `5m`, `2h`, `1d`.

    Args:
        text: A duration.
        what: What it is of, for the message.

    Raises:
        SettingsError: It is none, or too long.
    """
    found = _DURATION.fullmatch(text.strip())
    head = f"{what} " if what else ""
    if found is None:
        raise SettingsError(f"{head}{text!r} is no duration: write 90s, 5m, 2h or 1d")
    length = timedelta(seconds=float(found["count"]) * _UNIT_S[found["unit"]])
    if length > _LONGEST:
        raise SettingsError(f"{head}{text!r} is longer than {_LONGEST.days} days")
    return length


def _seconds(node: Node) -> float:
    text = node.text(also_numbers=True)
    return 0.0 if text == "0" else duration(text).total_seconds()


def _exchanges(node: Node, *, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(item.text() for item in node.sequence())
    unknown = [name for name in found if name not in allowed]
    if unknown or not found or len(set(found)) < len(found):
        told = f"{unknown[0]!r} is not known" if unknown else "name each exchange once, and at least one"
        raise SettingsError(f"{told}; there are: {', '.join(allowed)}")
    return found


def _template(node: Node) -> str:
    text = node.text()
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise SettingsError(f"{text!r} is no template: {error}") from None
    for _, name, _, _ in parts:
        if name is not None and not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise SettingsError(f"{{{name}}} is no plain name")
    return text


def _kind(kinds: type[StrEnum], what: str) -> Callable[[Node], StrEnum]:
    return lambda node: kinds(_one_of(node, [str(kind) for kind in kinds], what))


def _count(node: Node) -> int:
    return node.whole(lowest=3, highest=250)


_READERS: Mapping[str, Callable[[Node], Any]] = {
    "metric": lambda node: _one_of(node, METRICS, "metric"),
    "measure": _kind(Measure, "measure"),
    "comparison": lambda node: _one_of(node, COMPARISONS, "comparison"),
    "threshold": lambda node: node.number(),
    "severity": lambda node: Severity[_one_of(node, list(Severity.__members__), "severity")],
    "for": _seconds,
    "phase": _kind(Phase, "phase"),
    "warmup": _seconds,
    "exchanges": lambda node: _exchanges(node, allowed=(*EXCHANGES, LAKE)),
    "no_data": _kind(Policy, "policy"),
    "error": _kind(Policy, "policy"),
    "over": _seconds,
    "sessions": _count,
    "min_sessions": _count,
    "spread_floor": lambda node: node.number(lowest=0.0, highest=10.0),
    "summary": _template,
    "runbook": lambda node: node.text(),
    "inhibited_by": lambda node: tuple(item.text() for item in node.sequence()),
    "enabled": lambda node: node.boolean(),
}
"""How each field is read, by its name in the file."""
