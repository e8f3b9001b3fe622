"""Whether a feed lives, told in a microsecond: what an app asks before it acts on its own.

One thread writes, any thread asks. There is no lock: each figure is one reference in a dictionary, which
is replaced and never changed.
"""

from __future__ import annotations

from time import monotonic as _now

from catalog.exchanges import canonical_exchange, canonical_symbol

DEFAULT_WITHIN_S = 60.0
EVERY_SYMBOL = "*"


class Freshness:
    """When the newest living chain of each exchange and symbol came, and which connections are up."""

    __slots__ = ("_alive", "_connections")

    def __init__(self) -> None:
        self._alive: dict[tuple[str, str], tuple[float, str]] = {}
        self._connections: dict[tuple[str, str], tuple[bool, float]] = {}

    def chain_lives(self, exchange: str, symbol: str, source: str, came_at: float) -> None:
        """Note a chain that is a sign of life.

        Args:
            exchange: Canonical.
            symbol: Canonical.
            source: Where it came from.
            came_at: On the monotonic clock, seconds.
        """
        seen = (came_at, source)
        self._alive[exchange, symbol] = seen
        newest = self._alive.get((exchange, EVERY_SYMBOL))
        if newest is None or newest[0] <= came_at:
            self._alive[exchange, EVERY_SYMBOL] = seen

    def connection(self, exchange: str, source: str, *, up: bool) -> None:
        """Note that a connection came up or went down; never raises."""
        try:
            known = canonical_exchange(exchange) or exchange
            before = self._connections.get((known, source))
            if before is None or before[0] is not bool(up):
                self._connections[known, source] = (bool(up), _now())
        except Exception:  # noqa: BLE001, S110 - told by a live app, whose objects may raise anything
            pass

    def connections(self) -> dict[tuple[str, str], tuple[bool, float]]:
        """By exchange and source: whether it is up, and since when on the monotonic clock."""
        return dict(self._connections)

    def is_fresh(self, exchange: str, within_s: float, symbol: str = EVERY_SYMBOL) -> bool:
        """Whether a living chain came within so many seconds over a connection not known to be down."""
        seen = self._alive.get((exchange, symbol))
        if seen is None:
            exchange, symbol = canonical_exchange(exchange) or exchange, canonical_symbol(symbol)
            seen = self._alive.get((exchange, symbol))
            if seen is None:
                return False
        came_at, source = seen
        if not 0.0 <= _now() - came_at <= within_s:
            return False
        connection = self._connections.get((exchange, source))
        # What came before a connection was lost says nothing of the one that replaced it.
        return connection is None or (connection[0] and connection[1] <= came_at)
