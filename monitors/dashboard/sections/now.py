"""Now: session, feed, stream, ledger and newest batches of each exchange, live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlalchemy import Engine

from catalog.contracts import CAPTURED
from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.live import Fragment
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.now_model import ExchangeNow, exchange_now, newest_chains
from monitors.dashboard.sections.section import Opened, Section
from monitors.dashboard.stream_facts import StreamLook

BATCHES = 6
_BATCHES_S = 2.0
_FRESH_S = 2.0
_FIRST_PAINT_S = 0.15
"""A page waits this long for a first look; then it shows what loads, and the stream brings the rest."""


class NowLook:
    """Looks at all exchanges, once for however many ask. For one event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._cards: list[ExchangeNow] = []
        self._looked_s = float("-inf")
        self._looking: asyncio.Task[list[ExchangeNow]] | None = None
        self._catalog: Engine | None = None
        self._batches: dict[str, list[dict[str, Any]]] = {}
        self._batches_s = float("-inf")

    async def cards(self) -> list[ExchangeNow]:
        """The cards, not older than two seconds."""
        if time.monotonic() - self._looked_s < _FRESH_S:
            return self._cards
        return await self.look()

    async def look(self) -> list[ExchangeNow]:
        """The cards as of now."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    def close(self) -> None:
        """Let go of the catalog."""
        if self._catalog is not None:
            self._catalog.dispose()

    async def _look(self) -> list[ExchangeNow]:
        backend = self._backend
        now = backend.clock()
        problems: list[str] = []
        look = await asyncio.to_thread(backend.streams.look, backend.exchanges, now)
        chains: Sequence[Mapping[str, Any]] = ()
        has_lake = await asyncio.to_thread(backend.settings.lake.exists)
        try:
            chains = (
                await backend.reader.read("newest_chains", newest_chains, tables=["option_chain"])
            ).value
        except StrikelakeError as error:
            if has_lake:
                problems.append(str(error))
        try:
            await asyncio.to_thread(self._read_batches)
        except StrikelakeError as error:
            problems.append(str(error))
        # A check takes longer than a look: the card shows the newest, and does not wait for the next.
        backend.health.begin()
        check = backend.health.newest
        self._cards = [
            self._card(one, now, look, check, chains, problems, has_lake) for one in backend.exchanges
        ]
        self._looked_s = time.monotonic()
        return self._cards

    def _card(
        self,
        exchange: str,
        now: datetime,
        look: StreamLook,
        check: Any,
        chains: Sequence[Mapping[str, Any]],
        problems: Sequence[str],
        has_lake: bool,
    ) -> ExchangeNow:
        return exchange_now(
            exchange, now, calendar=self._backend.calendar, rules=self._backend.rules, look=look, check=check,
            chains=chains, batches=self._batches.get(exchange, []), problem="; ".join(problems),
            has_lake=has_lake,
        )  # fmt: skip

    def _read_batches(self) -> None:
        """The newest batches of captured rows, from the catalog."""
        if time.monotonic() - self._batches_s < _BATCHES_S or not self._backend.settings.lake.exists():
            return
        from catalog.batches import batches
        from catalog.database import open_database

        if self._catalog is None:
            self._catalog = open_database(self._backend.settings.catalog)
        catalog = self._catalog
        for exchange in self._backend.exchanges:
            found = [
                row
                for table in CAPTURED
                for row in batches(catalog, table=table, exchange=exchange, limit=BATCHES)
            ]
            found.sort(key=lambda row: (row["batch_time"], row["id"]), reverse=True)
            self._batches[exchange] = found[:BATCHES]
        self._batches_s = time.monotonic()


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    looks = NowLook(backend)

    @get("/", name="now")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """The page; what takes longer than a blink is brought by the stream."""
        try:
            cards = await asyncio.wait_for(looks.cards(), _FIRST_PAINT_S)
        except TimeoutError:
            cards = []
        return await renderer.page(backend, "now", request, cards=cards, exchanges=backend.exchanges)

    async def live() -> list[Fragment]:
        return [
            renderer.fragment(f"now-{card.exchange}", "now_card.html", card=card)
            for card in await looks.look()
        ]

    return Opened([page], live, looks.close)


SECTION = Section("now", "/", "Now", "Session, feed, stream and ledger of each exchange, live.", _opened)
