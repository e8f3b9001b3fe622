"""What changes by itself, sent to every open page: one poller a section, whose work all pages share.

A page that reads slowly never holds anything up and never costs more than one copy of each fragment: what it
has not taken yet is replaced by what is newer. A poller runs while somebody looks, and not longer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

_FRESH_MS = 5_000

MOST_PAGES = 200
"""Open streams at the same time; one more is refused."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """HTML that replaces the element of an id."""

    target: str
    html: str

    @property
    def message(self) -> str:
        """The fragment as htmx takes it out of a stream."""
        return f'<hx-partial hx-target="#{self.target}" hx-swap="outerMorph">{self.html}</hx-partial>'


Produce = Callable[[], Awaitable[Sequence[Fragment]]]


@dataclass(slots=True, eq=False)
class _Page:
    """An open page: fragments that it has not taken yet, by target."""

    waiting: dict[str, str] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def give(self, messages: Mapping[str, str]) -> None:
        self.waiting |= messages
        self.woken.set()


@dataclass(slots=True)
class _Topic:
    produce: Produce
    pages: set[_Page] = field(default_factory=set)
    newest: dict[str, str] = field(default_factory=dict)
    polled_ms: int = 0
    poller: asyncio.Task[None] | None = None


class LiveFeed:
    """The streams of all sections; to be used within one event loop."""

    def __init__(
        self,
        sections: Mapping[str, Produce],
        *,
        every_s: float = 1.0,
        heartbeat_s: float = 2.0,
        most_pages: int = MOST_PAGES,
    ) -> None:
        """Prepare; nothing is polled yet.

        Args:
            sections: How the fragments of each section are made.
            every_s: Seconds between the end of one poll and the next.
            heartbeat_s: A stream is never silent for longer. While polls succeed and nothing changes it says
                `beat`, with the time of the newest poll; else `alive`: only that the connection is there.
            most_pages: Open streams at most.
        """
        self._topics = {name: _Topic(produce) for name, produce in sections.items()}
        self._every_s = every_s
        self._heartbeat_s = heartbeat_s
        self._most_pages = most_pages
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pages(self) -> int:
        """Open streams."""
        return sum(len(topic.pages) for topic in self._topics.values())

    @property
    def is_full(self) -> bool:
        """Whether one more stream would be too many."""
        return self.pages >= self._most_pages or self._closed

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections."""
        return tuple(self._topics)

    async def produced(self, section: str) -> Sequence[Fragment]:
        """The fragments of a section as they are made now."""
        return await self._topics[section].produce()

    def __contains__(self, section: object) -> bool:
        return section in self._topics

    async def stream(self, section: str) -> AsyncIterator[bytes]:
        """Server-sent events for one page, until it goes or the feed is closed."""
        topic, page, told_ms = self._topics[section], _Page(), 0
        self._loop = asyncio.get_running_loop()
        if topic.poller is None or _now_ms() - topic.polled_ms > _FRESH_MS:
            # Of when others looked, or before polls began to fail: who comes now would take it for new.
            topic.newest = {}
        page.give(topic.newest)
        topic.pages.add(page)
        if topic.poller is None:
            topic.poller = asyncio.create_task(self._poll(section, topic))
        try:
            yield b"retry: 1000\n\n"
            while not page.closed and not self._closed:
                try:
                    await asyncio.wait_for(page.woken.wait(), self._heartbeat_s)
                except TimeoutError:
                    beat = (
                        f"event: beat\ndata: {topic.polled_ms}\n\n"
                        if topic.polled_ms > told_ms
                        else "event: alive\ndata: 1\n\n"
                    )
                    told_ms = topic.polled_ms
                    yield beat.encode()
                    continue
                page.woken.clear()
                taken, page.waiting = page.waiting, {}
                if taken:
                    yield _encoded("".join(taken.values()))
        finally:
            topic.pages.discard(page)
            if not topic.pages and topic.poller is not None:
                topic.poller.cancel()
                topic.poller = None

    def close_soon(self) -> None:
        """End every stream from another thread, or from a signal's handler."""
        if self._loop is None or self._loop.is_closed():
            self._closed = True
        else:
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for topic in self._topics.values():
            for page in topic.pages:
                page.closed = True
                page.woken.set()

    async def _poll(self, section: str, topic: _Topic) -> None:
        wait_s = self._every_s
        while True:
            try:
                made = {fragment.target: fragment.message for fragment in await topic.produce()}
            except Exception as error:
                # Ages on the page go on and turn stale; who looks sees that nothing comes.
                wait_s = min(2 * wait_s, 60.0)
                logger.exception(
                    "live poll failed", extra={"action": "poll", "section": section, "error": str(error)}
                )
            else:
                wait_s = self._every_s
                topic.polled_ms = _now_ms()
                fresh = {target: text for target, text in made.items() if topic.newest.get(target) != text}
                topic.newest = made
                if fresh:
                    for page in topic.pages:
                        page.give(fresh)
            await asyncio.sleep(wait_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _encoded(text: str) -> bytes:
    """One message; its id is that of its content, so that a page knows what it has."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"id: {digest}\n{lines}\n".encode()
