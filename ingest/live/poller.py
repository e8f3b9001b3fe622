"""Asks an HTTP source for chains, politely: one request at a time, and less when it is not wanted.

* Only while a session of the exchange runs, unless told otherwise.
* A round of all underlyings every so many seconds, a tenth more or less; a slow round delays the next.
* `Retry-After` is kept; failures wait longer and longer, block pages longer still.
* A page instead of JSON is never parsed: it is told, counted and kept whole in quarantine.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pydantic import SecretStr

from catalog.reference import ReferenceData
from ingest.events import Reject
from ingest.live.backoff import Backoff
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.http_client import Answer, HttpClient, HttpLimits, NoAnswerError
from ingest.live.messages import MessageReader, payload_of
from ingest.live.poll_sources import PollSource, Request, nearest_expiries
from ingest.sources import json_document
from ingest.sources.recorded_file import NotARecordingError
from lake.errors import SettingsError

logger = logging.getLogger(__name__)

_REFUSED = frozenset({401, 403})
_SLOW_DOWN = frozenset({429, 503})
_CLOSED_CHECK_S = 15.0
_PAGE_HEADERS = {"Accept": "text/html,application/xhtml+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to ask.

    Attributes:
        every_s: Seconds between rounds.
        jitter: Share of it by which a round may come earlier or later.
        between_s: Seconds between two requests of a round.
        least_wait_s: No try comes sooner after a failure, however the draw falls.
        first_wait_s: Ceiling of the first wait after a failure.
        most_wait_s: Ceiling of the waits after failures.
        blocked_wait_s: What a block page costs on top.
    """

    every_s: float
    jitter: float = 0.1
    between_s: float = 0.5
    least_wait_s: float = 1.0
    first_wait_s: float = 2.0
    most_wait_s: float = 300.0
    blocked_wait_s: float = 60.0


class _PollFailedError(Exception):
    """The source as a whole does not serve us now."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s


@dataclass(slots=True)
class _Underlying:
    key: str
    exchange: str
    reader: MessageReader
    expiries: list[str] = field(default_factory=list)
    expiries_of: date | None = None


class Poller:
    """Polls one source until cancelled."""

    def __init__(
        self,
        source: PollSource,
        symbols: list[str],
        reference: ReferenceData,
        delivery: Delivery,
        *,
        pace: Pace,
        address: str | None = None,
        expiries: int = 2,
        bearer: SecretStr | None = None,
        limits: HttpLimits | None = None,
        always: bool = False,
        rng: random.Random | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Make a poller; `run` asks.

        Args:
            source: What to ask.
            symbols: Underlyings, in any spelling.
            reference: Calendar and lot sizes.
            delivery: Takes chains, rejects and states.
            pace: How often.
            address: Instead of the source's own.
            expiries: How many of the nearest expiries of each underlying.
            bearer: The token it wants.
            limits: Times and sizes.
            always: Ask out of session, too.
            rng: Source of the jitter.
            now: The clock by which sessions begin and end.

        Raises:
            SettingsError: The source does not have one of the underlyings.
        """
        self._source = source
        self._delivery = delivery
        self._calendar = reference.calendar
        self._pace = pace
        self._address = address or source.address
        self._expiries = expiries
        self._bearer = bearer
        self._limits = limits or HttpLimits()
        self._always = always
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._now = now
        self._backoff = Backoff(pace.first_wait_s, pace.most_wait_s, self._rng)
        self._has_cookies = source.home is None
        self._underlyings = []
        for key in dict.fromkeys(source.key_of(symbol) for symbol in symbols):
            exchange = source.exchange_of(key)
            reader = MessageReader(source.format, reference, delivery, exchange=exchange)
            self._underlyings.append(_Underlying(key, exchange, reader))
        self.exchanges = tuple(sorted({each.exchange for each in self._underlyings}))

    async def run(self) -> None:
        """Poll until cancelled.

        Raises:
            SettingsError: The source refuses the token.
        """
        client = HttpClient(
            self._address, headers=self._source.headers, limits=self._limits, bearer=self._bearer
        )
        try:
            while True:
                await asyncio.sleep(await self._round(client))
        finally:
            for exchange in self.exchanges:
                self._delivery.connections.change(exchange, up=False, why="stopped")
            await client.close()

    async def _round(self, client: HttpClient) -> float:
        """Ask for all that is due; how long to wait then."""
        due = [each for each in self._underlyings if self._is_due(each.exchange)]
        if not due:
            return min(_CLOSED_CHECK_S, self._pace.every_s)
        started = time.monotonic()
        try:
            for underlying in due:
                await self._poll(client, underlying)
        except _PollFailedError as error:
            for exchange in {each.exchange for each in due}:
                self._delivery.connections.change(exchange, up=False, why=error.why)
            wait_s = self._backoff.next_s(max(error.wait_s, self._pace.least_wait_s))
            logger.info(
                "poll failed",
                extra={
                    "action": "poll",
                    "source": self._source.name,
                    "why": error.why,
                    "wait_s": round(wait_s, 1),
                },
            )
            return wait_s
        self._backoff.reset()
        jitter = self._rng.uniform(-self._pace.jitter, self._pace.jitter)
        return max(0.0, self._pace.every_s * (1 + jitter) - (time.monotonic() - started))

    def _is_due(self, exchange: str) -> bool:
        return self._always or self._calendar.is_open(exchange, self._now())

    async def _poll(self, client: HttpClient, underlying: _Underlying) -> None:
        """Take the chains of one underlying."""
        today = self._calendar.session_date(underlying.exchange, self._now())
        if underlying.expiries_of != today:
            request = self._source.expiries_request(underlying.key)
            message = await self._ask(client, request, underlying)
            underlying.expiries = self._read_expiries(message, underlying, today)
            underlying.expiries_of = today if underlying.expiries else None
        for expiry in underlying.expiries:
            await asyncio.sleep(self._pace.between_s)
            message = await self._ask(client, self._source.chain_request(underlying.key, expiry), underlying)
            taken = await asyncio.to_thread(underlying.reader.take, message)
            if taken:
                self._delivery.connections.change(underlying.exchange, up=True, why="chains come")
            else:
                # An answer without a chain: maybe the expiry is over, maybe we are being fobbed off.
                underlying.expiries_of = None
                self._has_cookies = self._source.home is None
                raise _PollFailedError("the answer is no chain")

    def _read_expiries(self, message: Message, underlying: _Underlying, today: date) -> list[str]:
        try:
            payload = json_document.parse(bytes(message.content).decode("utf-8-sig"))  # type: ignore[arg-type]
            return nearest_expiries(self._source, payload, self._expiries, today)
        except (NotARecordingError, UnicodeDecodeError) as error:
            reason = error.reason if isinstance(error, NotARecordingError) else "undecodable"
            self._reject(underlying, reason, f"expiries of {underlying.key}: {error}", message)
            self._has_cookies = self._source.home is None
            raise _PollFailedError("the answer is no list of expiries") from None

    async def _ask(self, client: HttpClient, request: Request, underlying: _Underlying) -> Message:
        """Ask for JSON, with new cookies once more if the answer shows that the old ones ended."""
        for last in (False, True):
            if not self._has_cookies:
                await self._visit_home(client)
            answer, message = await self._get(client, request, underlying)
            refused = answer.status in _REFUSED
            if answer.is_html:
                detail = f"a page instead of JSON (HTTP {answer.status})"
                self._reject(underlying, "html_instead_of_json", detail, message)
            if answer.status == 200 and not answer.is_html:
                return message
            if refused and self._bearer is not None:
                raise SettingsError(
                    f"{client.shown} refused the token (HTTP {answer.status}): it has ended or is"
                    f" wrong; get a new one and store it as {self._source.credential}"
                )
            if answer.status in _SLOW_DOWN:
                raise _PollFailedError(f"asked to slow down (HTTP {answer.status})", answer.retry_after_s)
            if not refused and not answer.is_html:
                raise _PollFailedError(f"HTTP {answer.status}", answer.retry_after_s)
            if last or self._source.home is None:
                break
            client.forget_cookies()
            self._has_cookies = False
        wait_s = max(self._pace.blocked_wait_s, answer.retry_after_s)
        client.forget_cookies()
        self._has_cookies = self._source.home is None
        raise _PollFailedError(f"blocked (HTTP {answer.status})", wait_s)

    async def _visit_home(self, client: HttpClient) -> None:
        """Get the cookies; the page itself is of no interest."""
        try:
            answer = await client.get(self._source.home or "/", headers=_PAGE_HEADERS)
        except NoAnswerError as error:
            raise _PollFailedError(error.detail) from None
        if answer.status in _SLOW_DOWN:
            raise _PollFailedError(f"asked to slow down (HTTP {answer.status})", answer.retry_after_s)
        # Refused or not: the request that follows shows whether its cookies are good.
        self._has_cookies = True

    async def _get(
        self, client: HttpClient, request: Request, underlying: _Underlying
    ) -> tuple[Answer, Message]:
        try:
            answer = await client.get(request.path, request.params)
        except NoAnswerError as error:
            if error.partial:
                self._reject(underlying, error.reason, error.detail, Message(error.partial, time.time_ns()))
            raise _PollFailedError(error.detail) from None
        return answer, Message(answer.content, time.time_ns())

    def _reject(self, underlying: _Underlying, reason: str, detail: str, message: Message) -> None:
        reject = Reject(reason, detail, payload_of(message.content))
        self._delivery.reject(underlying.exchange, reject, message.received_ns)
