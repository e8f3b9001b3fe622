"""Detectors that compare a chain with those before it; one history per source, symbol, expiry and session."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from catalog.dq_flags import FROZEN_MOVE, PARTIAL_SHARE, DqFlag
from ingest.quality_columns import PRICES, Chain, Floats
from ingest.quality_legs import Pairing, pair, priced_legs
from ingest.quality_tracks import VolumeTracks

_CHAINS_KEPT = 10
_FEWEST_PRICED = 4
_FEWEST_MISSING = 2


@dataclass(slots=True)
class _Side:
    """The newest chain of one composition (calls, puts or both).

    Feeds that send calls and puts apart are compared like with like.
    """

    keys: Floats
    pairing: Pairing
    content: Floats
    event_us: int
    spot_when_priced: float
    frozen: bool = False


@dataclass(slots=True)
class History:
    """What is known of one source, symbol and expiry in one session.

    The first chain after a start has no predecessor: nothing that compares can fire on it.

    Attributes:
        day: The session.
        event_us: Newest event time.
    """

    day: date
    event_us: int = 0
    _sides: dict[str, _Side] = field(default_factory=dict)
    _legs: deque[int] = field(default_factory=lambda: deque(maxlen=_CHAINS_KEPT))
    _tracks: dict[str, VolumeTracks] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether there was a chain to compare with."""
        return bool(self._sides)

    def pairing(self, chain: Chain) -> Pairing:
        """Calls and puts of a chain, worked out anew only when its contracts change.

        The chain is given the keys that are remembered, or a copy of its own to be remembered: from then on
        equal keys are one object.
        """
        before = self._sides.get(chain.sides)
        if before is not None and len(before.keys) == chain.legs and np.array_equal(before.keys, chain.keys):
            chain.keys = before.keys
            return before.pairing
        chain.keys = chain.keys.copy()
        return pair(chain.keys)

    def is_earlier(self, chain: Chain) -> bool:
        """Whether a chain is dated before one that was seen; it cannot be compared then."""
        return chain.event_us < self.event_us

    def flag(self, chain: Chain, pairing: Pairing, *, in_session: bool, zeroed: bool) -> dict[DqFlag, float]:
        """Set the flags that the chains before decide, and remember the chain.

        Args:
            chain: Not earlier than the newest one.
            pairing: Of the chain, as `pairing` gave it.
            in_session: Whether it is dated from the session's open on.
            zeroed: Whether it has no figures at all.

        Returns:
            Figures to the flags: legs missing in percent, legs that fell, move of the spot in percent.
        """
        figures: dict[DqFlag, float] = {}
        sides = chain.sides
        before = self._sides.get(sides)
        continues = chain.event_us == self.event_us and bool(self._sides)
        content = chain.content.copy()
        if in_session:
            self._flag_partial(chain, figures, continues=continues)
        same_legs = before is not None and before.keys is chain.keys
        repeats = before is not None and same_legs and np.array_equal(before.content, content)
        kept = self._compare(chain, before, pairing, content, figures, repeats=repeats)
        if not zeroed and (chain.volume > 0).any():
            tracks = self._tracks.get(sides)
            if tracks is None:
                tracks = self._tracks[sides] = VolumeTracks()
            if not in_session:
                tracks.begin_with_old_totals(chain, content)
            elif fell := tracks.flag(chain, content):
                figures[DqFlag.STALE] = float(fell)
        self._sides[sides] = kept
        self.event_us = chain.event_us
        return figures

    def _compare(
        self,
        chain: Chain,
        before: _Side | None,
        pairing: Pairing,
        content: Floats,
        figures: dict[DqFlag, float],
        *,
        repeats: bool,
    ) -> _Side:
        """Set REPEATED and FROZEN; gives back what the next chain is compared with."""
        spot = chain.underlying
        new = _Side(chain.keys, pairing, content, chain.event_us, spot)
        if before is None or before.keys is not chain.keys:
            return new
        if not repeats and not np.array_equal(before.content[PRICES], content[PRICES]):
            return new
        new.spot_when_priced, new.frozen = before.spot_when_priced, before.frozen
        if not new.spot_when_priced > 0:
            new.spot_when_priced = spot
        if repeats and chain.event_us > before.event_us:
            chain.flags |= DqFlag.REPEATED
        move = abs(spot / new.spot_when_priced - 1) if spot > 0 and new.spot_when_priced > 0 else 0.0
        if not new.frozen and move >= FROZEN_MOVE:
            new.frozen = priced_legs(chain) >= _FEWEST_PRICED
        if new.frozen:
            chain.flags |= DqFlag.FROZEN
            figures[DqFlag.FROZEN] = 100 * move
        return new

    def _flag_partial(self, chain: Chain, figures: dict[DqFlag, float], *, continues: bool) -> None:
        if continues:
            return  # a further piece of a chain, or the same one again: how many legs are to come is unknown
        most = max(self._legs, default=0)
        if chain.legs < PARTIAL_SHARE * most and most - chain.legs >= _FEWEST_MISSING:
            chain.flags |= DqFlag.PARTIAL
            figures[DqFlag.PARTIAL] = 100 * (1 - chain.legs / most)
        self._legs.append(chain.legs)
