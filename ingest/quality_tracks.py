"""Cumulative volume by leg: does a chain go on from where the feed was, or does it belong to another moment?

Volume only grows within a session. A chain in which it falls was made before one that is known already: a
cache served an old answer, or a second collector with a wrong clock writes into the same feed. So the
states that a feed showed are kept as *tracks*, and each chain goes on with the track that it exceeds by the
least.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from catalog.dq_flags import STALE_LEGS, DqFlag
from ingest.quality_columns import MISSING, VOLUME, Chain, Floats

MOST_TRACKS = 3
KEPT_US = 3_600_000_000
"""A track that nothing went on from for an hour is forgotten."""

ADOPTED_AFTER = 3
"""So many chains in a row below what was seen before are the new course: a broker began to count anew."""

_NONE = DqFlag(0)
_Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Track:
    """One state of a feed, as its newest chain shows it.

    Attributes:
        keys: As in `Chain`.
        content: As in `Chain`.
        event_us: Event time of the newest chain.
        moved: Whether anything ever changed from one of its chains to the next.
        behind: How many of its chains in a row were older than what was known; 0 for a course of the feed.
        suspect: Set on every chain for as long as the content stays what it was: WRONG_CLOCK once that was
            found out, PRE_OPEN_TOTALS for the totals of the session before.
    """

    keys: Floats
    content: Floats
    event_us: int
    moved: bool = False
    behind: int = 0
    suspect: DqFlag = _NONE

    def is_content_of(self, chain: Chain) -> bool:
        return self.has_legs_of(chain) and np.array_equal(self.content, chain.content)

    def has_legs_of(self, chain: Chain) -> bool:
        if self.keys is chain.keys:
            return True
        return len(self.keys) == chain.legs and np.array_equal(self.keys, chain.keys)

    def follow(self, chain: Chain, content: Floats) -> None:
        if (not self.moved or self.suspect) and not self.is_content_of(chain):
            self.moved, self.suspect = True, _NONE
        self.keys, self.content, self.event_us = chain.keys, content, chain.event_us


@dataclass(slots=True)
class VolumeTracks:
    """The tracks of one source, symbol and expiry in one session; the last of the list is the active one."""

    tracks: list[_Track] = field(default_factory=list)
    last_flags: int = 0

    def begin_with_old_totals(self, chain: Chain, content: Floats) -> None:
        """Remember what a chain before the open shows: the session's own figures may be lower.

        Args:
            chain: Before the session, with volumes.
            content: A copy of its content, to be kept.
        """
        suspect = DqFlag.PRE_OPEN_TOTALS
        self.tracks = [_Track(chain.keys, content, chain.event_us, suspect=suspect)]

    def flag(self, chain: Chain, content: Floats) -> int:
        """Set VOLUME_FALLS, STALE and WRONG_CLOCK; gives back how many legs fell where a chain is STALE.

        Args:
            chain: Within the session, with volumes.
            content: A copy of its content, to be kept.
        """
        new = _Track(chain.keys, content, chain.event_us)
        if not self.tracks:
            self.tracks.append(new)
            return 0
        active = self.tracks[-1]
        active_falls, increase = _compare(active, chain)
        chosen, falls = (active, active_falls) if _few(active_falls) else (None, active_falls)
        if len(self.tracks) > 1:
            self.tracks[:-1] = [t for t in self.tracks[:-1] if chain.event_us - t.event_us <= KEPT_US]
            for track in self.tracks[:-1]:
                its_falls, its_increase = _compare(track, chain)
                if _few(its_falls) and (chosen is None or its_increase < increase):
                    chosen, falls, increase = track, its_falls, its_increase
        if chosen is None:
            if active.suspect:
                flags, active_falls = _NONE, np.zeros(chain.legs, bool)
            else:
                flags, new.behind = DqFlag.STALE, 1
            falls, chosen = active_falls, new
            self.tracks = [*self.tracks[-MOST_TRACKS + 1 :], chosen]
        else:
            back = chosen is not active
            flags = self._comes_back(chosen, chain, active_falls) if back else _goes_on(active, chain)
            chosen.follow(chain, content)
            self.tracks = [*(t for t in self.tracks if t is not chosen), chosen]
        self._set(chain, flags, active_falls if flags & DqFlag.STALE else falls)
        return int(np.count_nonzero(active_falls)) if flags & DqFlag.STALE else 0

    def _comes_back(self, track: _Track, chain: Chain, active_falls: _Mask) -> DqFlag:
        """What a chain is that goes on from a state whose place another one had taken."""
        active = self.tracks[-1]
        if track.behind:
            track.behind = 1
            return DqFlag.STALE | DqFlag.WRONG_CLOCK if track.moved else DqFlag.STALE
        if track.is_content_of(chain) and (active.moved or track.suspect):
            # What stands still while another state moves is the one whose clock is wrong.
            active.behind = 0
            track.suspect = DqFlag.WRONG_CLOCK
            return DqFlag.WRONG_CLOCK
        if active.suspect or self.last_flags & (DqFlag.STALE | DqFlag.WRONG_CLOCK):
            return _NONE
        if _few(active_falls):
            active.behind = 1  # the course that was adopted was no new one after all
            return _NONE
        return DqFlag.STALE | DqFlag.WRONG_CLOCK

    def _set(self, chain: Chain, flags: DqFlag, falls: _Mask) -> None:
        if falls.any():
            chain.flags[falls] |= DqFlag.VOLUME_FALLS
        if flags:
            chain.flags |= flags
        self.last_flags = int(flags)


def _goes_on(active: _Track, chain: Chain) -> DqFlag:
    if active.suspect:
        return active.suspect if active.is_content_of(chain) else _NONE
    if not active.behind:
        return _NONE
    active.behind += 1
    if active.behind >= ADOPTED_AFTER:
        active.behind = 0
        return _NONE
    return DqFlag.STALE


def _few(falls: _Mask) -> bool:
    return int(np.count_nonzero(falls)) < STALE_LEGS


def _compare(track: _Track, chain: Chain) -> tuple[_Mask, float]:
    """Which legs of a chain have less volume than in a track, and by how much the others have more."""
    volume, before = chain.volume, track.content[VOLUME]
    if track.has_legs_of(chain):
        change = volume - before
        return (change < 0) & (volume > MISSING), float(np.maximum(change, 0).sum())
    _, ours, theirs = np.intersect1d(chain.keys, track.keys, return_indices=True)
    change = volume[ours] - before[theirs]
    falls = np.zeros(chain.legs, bool)
    falls[ours] = (change < 0) & (volume[ours] > MISSING)
    return falls, float(np.maximum(change, 0).sum())
