"""What of an update of candles is new, where parts of it may have come before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ingest.events import CandleUpdate


def without_known(
    update: CandleUpdate, known: Callable[[Sequence[bytes]], set[bytes]]
) -> CandleUpdate | None:
    """Leave out the candles and rejects that came before; None if that is all of them.

    A part that stands in the update twice is one.

    Args:
        update: What was read.
        known: Says which identities were taken in before.
    """
    if not update.parts:
        return update
    seen = set(known(update.parts))
    new: list[int] = []
    for number, part in enumerate(update.parts):
        if part not in seen:
            seen.add(part)
            new.append(number)
    if not new:
        return None
    count = len(update.candles)
    return replace(
        update,
        candles=[update.candles[number] for number in new if number < count],
        rejects=tuple(update.rejects[number - count] for number in new if number >= count),
        parts=tuple(update.parts[number] for number in new),
    )
