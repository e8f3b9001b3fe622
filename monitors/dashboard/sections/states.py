"""State of a figure or a card: a word and a sign, so that colour is never alone."""

from __future__ import annotations

from enum import StrEnum

from monitors.alerts import Severity
from monitors.evaluate import Judgement, Outcome


class State(StrEnum):
    """How something stands; the value is the name of its style.

    Attributes:
        OK: Looked at, and fine.
        INFO: A breach that nobody need do anything about.
        WARN: A breach.
        BAD: A critical breach.
        UNKNOWN: It could not be measured: not the same as fine.
        NONE: There is nothing to measure.
        OFF: Not looked at now.
    """

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"
    NONE = "none"
    OFF = "off"

    @property
    def sign(self) -> str:
        """A sign that differs in shape."""
        return _SIGNS[self]

    @property
    def word(self) -> str:
        """A word."""
        return _WORDS[self]

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return _WORST.index(self)


_SIGNS = {
    State.OK: "✓", State.INFO: "◆", State.WARN: "▲", State.BAD: "✖", State.UNKNOWN: "?", State.NONE: "∅",
    State.OFF: "‖",
}  # fmt: skip
_WORDS = {
    State.OK: "fine", State.INFO: "info", State.WARN: "warning", State.BAD: "critical",
    State.UNKNOWN: "not known", State.NONE: "no data", State.OFF: "not due",
}  # fmt: skip
_WORST = (State.OFF, State.NONE, State.OK, State.INFO, State.UNKNOWN, State.WARN, State.BAD)

BY_SEVERITY = {Severity.INFO: State.INFO, Severity.WARN: State.WARN, Severity.CRITICAL: State.BAD}

_BY_OUTCOME = {
    Outcome.OK: State.OK, Outcome.NO_DATA: State.NONE, Outcome.ERROR: State.UNKNOWN,
    Outcome.NOT_NOW: State.OFF,
}  # fmt: skip


def state_of(judgement: Judgement) -> State:
    """What came of a rule; no data that its rule takes for an alert is one."""
    if judgement.alerts:
        return BY_SEVERITY[judgement.rule.severity]
    return _BY_OUTCOME[judgement.outcome]


def worst(states: list[State]) -> State:
    """The worst of some; nothing is no data."""
    return max(states, key=lambda one: one.rank, default=State.NONE)
