"""Chains of files that were loaded while they were being written, or cut short: the rest comes in, once.

A chain is taken in whole and known by all its rows. One that stood at the end of its file may have lacked
rows, and its last row may have been half a row, perhaps of the next chain. When the file comes again, the
chain is another one, which begins as that one did.

Half a row that can be read, since only figures at its very end were cut off, cannot be told from a whole one:
when it comes whole, it is another row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.sources.base import identities_of, identity_of

if TYPE_CHECKING:
    from ingest.events import ChainUpdate

Known = Callable[[Sequence[bytes]], set[bytes]]
"""Says which identities were taken in before."""


@dataclass(slots=True)
class Growth:
    """How a chain came together, row by row.

    Attributes:
        fixed: What the identities of the chain have in common, before its rows.
        rows: Its rows, as identities have them.
        counts: After each of them: how many calls, puts and rejects there were.
        may_grow: Whether it stands at the end of its file.
    """

    fixed: tuple[str, ...]
    rows: Sequence[str]
    counts: Sequence[tuple[int, int, int]]
    may_grow: bool = False

    @property
    def key(self) -> bytes:
        """Remembered of a chain that may grow, so that of others no beginning is looked for."""
        return identity_of("may grow", *self.fixed)

    def identities(self) -> list[bytes]:
        """The identity it has with its first row, with its first two, and so on."""
        return list(identities_of(self.fixed, self.rows))


def rest_of(update: ChainUpdate, known: Known) -> tuple[ChainUpdate | None, list[bytes]]:
    """Leave out the rows of a chain that came before, when it was shorter.

    Args:
        update: A chain that is not known as a whole.
        known: Says what is.

    Returns:
        The rest, None if there is none; and what to remember beside the identity of the whole.
    """
    growth = update.growth
    if growth is None:
        return update, []
    update.growth = None  # its rows need not be kept any longer
    has_begun = bool(known([growth.key]))
    if not has_begun and not growth.may_grow:
        return update, []
    identities = growth.identities()
    rows = _rows_known(identities, known) if has_begun else 0
    rest = None if rows == len(identities) else _after(update, growth, rows)
    if not growth.may_grow:
        return rest, []
    marks = [growth.key, *map(_but_one, identities[-2:-1])]
    return rest, [mark for mark in marks if mark not in known(marks)]


def _rows_known(beginnings: Sequence[bytes], known: Known) -> int:
    """With how many of its rows a chain came before, half a row left out."""
    found = known([*beginnings, *map(_but_one, beginnings)])
    return max(
        (n for n, each in enumerate(beginnings, 1) if each in found or _but_one(each) in found), default=0
    )


def _but_one(identity: bytes) -> bytes:
    """What is remembered of a chain without its last row, which may be half a row."""
    return identity_of("one row more", identity)


def _after(update: ChainUpdate, growth: Growth, rows: int) -> ChainUpdate:
    if not rows:
        return update
    calls, puts, rejects = growth.counts[rows - 1]
    return replace(
        update, calls=update.calls[calls:], puts=update.puts[puts:], rejects=update.rejects[rejects:]
    )
