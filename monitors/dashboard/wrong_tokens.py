"""Wrong tokens: beyond a few they are turned away and told of, while the right one is always taken.

A token has at least 32 characters, so that guessing gets nowhere at any speed: to refuse the right one
because somebody guesses would only let strangers lock people out. What is limited is what guessing costs
this process, and how long nobody hears of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

BURST = 10
"""Wrong tokens that are answered as mistakes: people mistype."""

REFILL_S = 6.0
"""Seconds after which one more of them is."""

_TELL_EVERY_S = 60.0


class WrongTokens:
    """Counts wrong tokens of a process, whoever shows them, as a token bucket; of constant size."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a full bucket.

        Args:
            clock: Seconds that only rise.
        """
        self._clock = clock
        self._left = float(BURST)
        self._at_s = clock()
        self._untold = 0
        self._told_s = float("-inf")

    def count(self, peer: str) -> int:
        """Count one more.

        Args:
            peer: Who showed it, for the log.

        Returns:
            Seconds to wait before another will be taken for a mistake; 0 for one that is.
        """
        now = self._clock()
        self._left = min(float(BURST), self._left + (now - self._at_s) / REFILL_S)
        self._at_s = now
        self._untold += 1
        if self._left >= 1.0:
            self._left -= 1.0
            return 0
        if now - self._told_s >= _TELL_EVERY_S:
            logger.warning(
                "wrong tokens", extra={"action": "login", "count": self._untold, "last_from": peer}
            )
            self._told_s, self._untold = now, 0
        return max(1, round((1.0 - self._left) * REFILL_S))
