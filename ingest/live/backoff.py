"""How long to wait before the next try: exponential, with full jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Waits between tries that fail one after the other.

    Each wait is drawn evenly from 0 to a ceiling that doubles ("full jitter", M. Brooker, AWS Architecture
    Blog, 2015): clients that lost the same server at the same moment do not come back together.

    Attributes:
        first_s: Ceiling of the first wait, in seconds.
        most_s: Ceiling that is not passed.
        rng: Source of the draws.
        failures: Tries that failed since the last success.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Count a failure and return the wait after it, in seconds.

        Args:
            at_least_s: What the other side asked for; the jitter comes on top, so that its clients spread.
        """
        # 2**64 is far beyond any ceiling and still a float.
        ceiling_s = min(self.most_s, self.first_s * 2 ** min(self.failures, 64))
        self.failures += 1
        return at_least_s + self.rng.uniform(0.0, ceiling_s)

    def reset(self) -> None:
        """Begin anew after a success."""
        self.failures = 0
