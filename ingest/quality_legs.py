"""Detectors that need no history: bounds and crossed quotes by leg, one-sided strikes, put-call parity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.dq_flags import (
    HIGHEST_IV,
    LOWEST_IV,
    PARITY_MADS,
    PARITY_SHARE,
    SPOT_SHARE,
    SPOT_SHARE_A_YEAR,
    DqFlag,
)
from ingest.quality_columns import MISSING, Block, Chain, Floats, Ints

_NEAR = 0.05
"""Share of the forward within which parity is looked at: farther out, last prices are hours old."""

_FEWEST_PAIRS = 5
"""Pairs that parity needs; also how many, nearest to the money, the forward is the median of."""

_FEWEST_LEGS = 4
_MAD_TO_STD = 1.4826
_BID, _ASK = 1, 2


@dataclass(slots=True, frozen=True)
class Pairing:
    """Which legs of a chain are call and put of one strike.

    Attributes:
        strikes: Of the pairs.
        calls: Positions of the calls.
        puts: Positions of the puts.
        lonely: Positions of legs without the other one; none in a chain that has one side only.
    """

    strikes: Floats
    calls: Ints
    puts: Ints
    lonely: Ints


def pair(keys: Floats) -> Pairing:
    """Pair the legs of a chain; keys as in `Chain`."""
    put = keys < 0
    calls, puts = np.flatnonzero(~put), np.flatnonzero(put)
    strikes, of_calls, of_puts = np.intersect1d(keys[calls], -keys[puts], return_indices=True)
    lonely = np.zeros(0, np.int64)
    if len(calls) and len(puts):
        alone = np.concatenate((calls[~np.isin(keys[calls], strikes)], puts[~np.isin(-keys[puts], strikes)]))
        lonely = np.sort(alone)
    return Pairing(strikes, calls[of_calls], puts[of_puts], lonely)


def flag_legs(block: Block) -> None:
    """Set the flags that one row alone decides."""
    iv, bid, ask = block.iv, block.content[_BID], block.content[_ASK]
    # An iv of 0 is what sources write for none, as they do for prices.
    odd = (iv > 0) & ((iv < LOWEST_IV) | (iv > HIGHEST_IV))
    crossed = (bid > ask) & (ask > 0)
    if odd.any():
        block.sorted_flags[odd] |= DqFlag.IV_BOUNDS
    if crossed.any():
        block.sorted_flags[crossed] |= DqFlag.CROSSED


def is_zeroed(chain: Chain) -> bool:
    """Whether no leg has any price, quantity, volume or open interest."""
    return chain.legs >= _FEWEST_LEGS and not bool((chain.content > 0).any())


def priced_legs(chain: Chain) -> int:
    """Legs that have a price."""
    return int(np.count_nonzero(chain.price > 0))


def flag_pairs(chain: Chain, pairing: Pairing) -> float | None:
    """Set the flags that calls and puts together decide; gives back the distance from the spot, a share.

    The forward is the median of strike + call - put (European options, so equal for all strikes but for
    interest on the strike's distance from it) over the pairs nearest to the money, where call and put cost
    alike. None if there are too few pairs, no spot, or the contract has expired.
    """
    if len(pairing.lonely):
        chain.flags[pairing.lonely] |= DqFlag.ONE_SIDED
    if len(pairing.strikes) < _FEWEST_PAIRS or chain.years <= 0:
        return None
    call, put = chain.price[pairing.calls], chain.price[pairing.puts]
    forwards = pairing.strikes + call - put
    apart = np.abs(call - put)
    there = ~np.isnan(apart)
    if np.count_nonzero(there) < _FEWEST_PAIRS:
        return None
    apart[~there] = np.inf
    closest = np.argpartition(apart, _FEWEST_PAIRS - 1)[:_FEWEST_PAIRS]
    forward = float(np.sort(forwards[closest])[_FEWEST_PAIRS // 2])
    _flag_outliers(chain, pairing, forwards, there, forward)
    if not chain.underlying > 0:
        return None
    distance = abs(forward / chain.underlying - 1)
    if distance > SPOT_SHARE + SPOT_SHARE_A_YEAR * chain.years:
        chain.flags |= DqFlag.OFF_SPOT
    return distance


def _flag_outliers(
    chain: Chain, pairing: Pairing, forwards: Floats, there: npt.NDArray[np.bool_], forward: float
) -> None:
    deviation = np.abs(forwards - forward)
    deviation[~there] = 0.0
    if not (deviation > PARITY_SHARE * forward).any():
        return
    near = there & (np.abs(pairing.strikes - forward) <= _NEAR * forward)
    # What did not trade today shows the price of another day.
    volume = chain.volume
    traded = (volume[pairing.calls] > 0) & (volume[pairing.puts] > 0)
    if (volume > MISSING).any():
        near &= traded
    if np.count_nonzero(near) < _FEWEST_PAIRS:
        return
    spread = _MAD_TO_STD * float(np.median(deviation[near]))
    odd = near & (deviation > max(PARITY_SHARE * forward, PARITY_MADS * spread))
    if odd.any():
        chain.flags[pairing.calls[odd]] |= DqFlag.PARITY
        chain.flags[pairing.puts[odd]] |= DqFlag.PARITY
