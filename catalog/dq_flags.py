"""The bits of `option_chain.dq_flags`: what each says of its row, and from which threshold on.

A flag never drops or changes a row. It says that this row, or the chain it came in, should not be taken at
face value; 0 says that no detector fired, and `UNCHECKED` that none could look.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

LATE_S = 120.0
"""As the rule `rows_late`: beyond it, a signal is made of what the market has left behind."""

AHEAD_S = 5.0
"""Clocks that are set over the network agree within a second; exchanges cut times to the second."""

LOWEST_IV, HIGHEST_IV = 0.01, 3.0
"""India VIX was never below 8 points; an implied volatility of 1 % is the floor of somebody's solver. Above
300 % stand legs whose price is a tick or an old trade, minutes before expiry."""

PARTIAL_SHARE = 0.9
"""A chain with a smaller share of the legs is partial; lists of traded contracts lose 1 to 3 at a time."""

FROZEN_MOVE = 0.0003
"""Share by which the spot has to move under prices that all stand still: NIFTY moves that far in a median
minute, and a price of a liquid leg with it."""

STALE_LEGS = 3
"""Legs whose cumulative volume has to be lower than before; one or two can be trades that were annulled."""

PARITY_SHARE, PARITY_MADS = 0.01, 6.0
"""How far strike + call - put may be from the chain's median: this share of it, or as many robust standard
deviations (1.4826 MAD), whichever is more."""

SPOT_SHARE, SPOT_SHARE_A_YEAR = 0.01, 0.12
"""How far the chain's synthetic forward may be from the spot: 1 %, and 12 % a year to expiry for interest
(6 to 7 %) and the premium of futures in a rising market."""


class DqFlag(IntFlag):
    """Bits of `dq_flags`; `MEANINGS` says what each means."""

    IV_BOUNDS = 1 << 0
    CROSSED = 1 << 1
    ONE_SIDED = 1 << 2
    PARITY = 1 << 3
    OFF_SPOT = 1 << 4
    LATE = 1 << 5
    AHEAD = 1 << 6
    ZEROED = 1 << 7
    PARTIAL = 1 << 8
    REPEATED = 1 << 9
    FROZEN = 1 << 10
    STALE = 1 << 11
    VOLUME_FALLS = 1 << 12
    WRONG_CLOCK = 1 << 13
    PRE_OPEN_TOTALS = 1 << 14
    OUT_OF_ORDER = 1 << 15
    UNCHECKED = 1 << 30


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a flag says.

    Attributes:
        flags: `leg` if it tells of the one leg, `chain` if it is set on every leg of a chain.
        about: One line for a reader.
        threshold: From when on it is set.
    """

    flags: str
    about: str
    threshold: str


MEANINGS: dict[DqFlag, Meaning] = {
    DqFlag.IV_BOUNDS: Meaning(
        "leg", "implied volatility that no market has", f"outside {LOWEST_IV:g} to {HIGHEST_IV:g}"
    ),
    DqFlag.CROSSED: Meaning("leg", "bid above ask", "bid > ask, both above 0"),
    DqFlag.ONE_SIDED: Meaning("leg", "the strike's other leg is missing", "in a chain of calls and puts"),
    DqFlag.PARITY: Meaning(
        "leg",
        "strike + call - put is far from the chain's",
        f"{PARITY_SHARE:.0%} and {PARITY_MADS:g} robust deviations, within 5 % of the money",
    ),
    DqFlag.OFF_SPOT: Meaning(
        "chain",
        "call and put prices belong to another spot",
        f"{SPOT_SHARE:.0%}, and {SPOT_SHARE_A_YEAR:.0%} a year to expiry",
    ),
    DqFlag.LATE: Meaning("chain", "came long after its event; live only", f"over {LATE_S:g} s"),
    DqFlag.AHEAD: Meaning("chain", "dated after it came; live only", f"over {AHEAD_S:g} s"),
    DqFlag.ZEROED: Meaning("chain", "no price, volume or open interest at all", "4 legs or more"),
    DqFlag.PARTIAL: Meaning(
        "chain", "legs are missing", f"under {PARTIAL_SHARE:.0%} of the fullest of the 10 chains before"
    ),
    DqFlag.REPEATED: Meaning("chain", "all values as in the chain before", "with a later event_time"),
    DqFlag.FROZEN: Meaning(
        "chain",
        "no price changes while the spot moves",
        f"{FROZEN_MOVE:.2%} since a price changed; 4 priced legs or more",
    ),
    DqFlag.STALE: Meaning(
        "chain", "an older state than one seen before", f"volume of {STALE_LEGS} legs or more falls"
    ),
    DqFlag.VOLUME_FALLS: Meaning("leg", "cumulative volume lower than in the chain before", "any fall"),
    DqFlag.WRONG_CLOCK: Meaning(
        "chain", "one of two states that alternate in one feed", "comes back after another was there"
    ),
    DqFlag.PRE_OPEN_TOTALS: Meaning(
        "leg", "volume of the session before", "volume above 0 before the open, or without a session"
    ),
    DqFlag.OUT_OF_ORDER: Meaning("chain", "dated before the chain before it; live only", "any"),
    DqFlag.UNCHECKED: Meaning(
        "chain", "not judged: a detector failed, or the leg was retried alone", "see the log"
    ),
}
"""Every bit, in order."""

LIFELESS = (
    DqFlag.OFF_SPOT
    | DqFlag.LATE
    | DqFlag.AHEAD
    | DqFlag.ZEROED
    | DqFlag.REPEATED
    | DqFlag.FROZEN
    | DqFlag.STALE
    | DqFlag.WRONG_CLOCK
    | DqFlag.PRE_OPEN_TOTALS
    | DqFlag.OUT_OF_ORDER
    | DqFlag.UNCHECKED
)
"""Flags of a chain that is no sign of a living feed."""


def flag_names(bits: int) -> list[str]:
    """Names of the flags in a value of `dq_flags`, lower case, lowest bit first.

    Bits that this version does not know come out as `bit_N`: a newer version wrote them.
    """
    known = {int(flag): str(flag.name).lower() for flag in DqFlag}
    return [known.get(1 << n, f"bit_{n}") for n in range(bits.bit_length()) if bits >> n & 1]
