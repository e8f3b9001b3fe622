"""Silences: nobody is told of alerts that match, from a start to an end, and somebody says why."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lake.errors import SettingsError
from monitors.alerts import Alert
from monitors.matchers import Matcher, all_match


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence; an alert under it keeps its state, and only nobody is told.

    Attributes:
        id: Short and random.
        matchers: All must match.
        starts_at: First instant it holds.
        ends_at: First instant it holds no more.
        author: Who made it.
        comment: Why.
        created_at: When it was made.
    """

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str
    created_at: datetime

    def state(self, now: datetime) -> Literal["waiting", "active", "expired"]:
        """Where it stands."""
        if now >= self.ends_at:
            return "expired"
        return "active" if now >= self.starts_at else "waiting"

    def mutes(self, alert: Alert, now: datetime) -> bool:
        """Whether nobody is to be told of an alert now."""
        return self.state(now) == "active" and all_match(self.matchers, alert.match_labels)


def new_silence(
    now: datetime,
    matchers: Sequence[Matcher],
    *,
    ends_at: datetime,
    author: str,
    comment: str,
    starts_at: datetime | None = None,
) -> Silence:
    """A silence, checked.

    Args:
        now: When it is made.
        matchers: At least one that an empty value does not match, so that no slip of the pen silences all.
        ends_at: When it ends; there is none without an end.
        author: Who makes it.
        comment: Why.
        starts_at: When it starts, now by default.

    Raises:
        SettingsError: Something of this is missing or makes no sense.
    """
    begin = now if starts_at is None else starts_at
    if all(matcher.matches({}) for matcher in matchers):
        raise SettingsError("a silence needs a matcher that does not match everything, like exchange=NSE")
    if ends_at <= begin:
        raise SettingsError(f"a silence must end after it starts ({begin.isoformat()})")
    if ends_at <= now:
        raise SettingsError(f"a silence must end in the future, not at {ends_at.isoformat()}")
    for name, text in (("author", author), ("comment", comment)):
        if not text.strip():
            raise SettingsError(f"a silence needs the {name}: who looks at it later must know")
    return Silence(uuid.uuid4().hex[:8], tuple(matchers), begin, ends_at, author, comment, now)


def silences_of(alert: Alert, silences: Iterable[Silence], now: datetime) -> list[str]:
    """Ids of the silences that mute an alert."""
    return [silence.id for silence in silences if silence.mutes(alert, now)]
