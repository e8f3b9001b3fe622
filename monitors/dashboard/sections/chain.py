"""Chain: open interest, put-call ratio and smile of any captured chain, at any moment of its session."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.params import FromQuery
from litestar.response import Template

from lake.errors import MalformedInputError, StrikelakeError, TableNotFoundError
from monitors.dashboard.backend import Backend
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.chain_model import (
    ChainKey,
    ChainMoment,
    captured_dates,
    choices,
    course,
    course_chart,
    first_choice,
    moment,
    oi_chart,
    place_at,
    smile_chart,
)
from monitors.dashboard.sections.section import Opened, Section
from monitors.dashboard.session_state import session_state

_TABLES = ("option_chain",)
_FIRST_PAINT_S = 0.2
"""A page waits this long for the chain; then it shows what loads."""

_OPEN_EVERY_S = 5
_CLOSED_EVERY_S = 60
"""How often a page with the newest chain asks for a newer one; left overnight, it finds the morning's."""

_COURSE_S = 30
"""A page draws the session's course anew when its newest chain is so many seconds newer."""

Values = dict[str, Any]


class ChainLook:
    """Reads what was asked for: the words of a form in, the values of a template out."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def view(self, asked: Values) -> Values:
        """The form, the slider, and the chain of the moment asked for: the newest by default."""
        empty: Values = {"view": None, "problem": "", "told": [], "asks_again": urlencode(asked)}
        try:
            return empty | await self._view(asked)
        except TableNotFoundError:
            return empty
        except StrikelakeError as error:
            return empty | {"problem": str(error)}

    async def moment(self, key: ChainKey, place: int) -> Values:
        """The chain at a place of the session's course.

        Raises:
            MalformedInputError: The session has no such place.
            StrikelakeError: The lake cannot be read.
        """
        steps = await self.course(key)
        if not 0 <= place < len(steps):
            raise MalformedInputError(
                f"{key.symbol} has {len(steps)} chains on {key.session_date}, no {place + 1}th"
            )
        step = steps[place]
        name = ("chain_moment", key, step["event_time"])
        read = await self._backend.reader.read(
            name, lambda session: moment(session, key, step), tables=_TABLES
        )
        chain: ChainMoment = read.value
        days = await self._days()
        follows = place == len(steps) - 1 and key.session_date == days[key.exchange][0]
        is_open = session_state(self._backend.calendar, key.exchange, self._backend.clock()).is_open
        chosen = {"exchange": key.exchange, "date": key.session_date, "chain": key.text}
        newest = {"exchange": key.exchange, "chain": key.text}
        at = chain.event_time.astimezone(self._backend.zone).isoformat()
        # Without date and moment the link shows the newest chain, whenever it is opened.
        return {
            "key": key, "chain": chain, "place": place, "places": len(steps),
            "follows": urlencode(newest) if follows else "",
            "every_s": _OPEN_EVERY_S if is_open else _CLOSED_EVERY_S,
            "stale_after": self._stale_after_s() if follows and is_open else 0,
            "oi": oi_chart(chain), "smile": smile_chart(chain),
            # Another address as the session goes on: a page draws what an address gives only once.
            "course": urlencode(chosen | {"until": int(steps[-1]["event_time"].timestamp() // _COURSE_S)}),
            "address": f"/chain?{urlencode(newest if follows else chosen | {'at': at})}",
        }  # fmt: skip

    def _stale_after_s(self) -> float:
        """Age of the newest chain that a rule calls stale; 0 where none does."""
        rules = self._backend.rules.enabled
        return next((one.threshold for one in rules if one.metric == "feed_age_s"), 0)

    async def course(self, key: ChainKey) -> list[Values]:
        """Every chain of the session.

        Raises:
            StrikelakeError: The lake cannot be read.
        """
        name = ("chain_course", key)
        read = await self._backend.reader.read(name, lambda session: course(session, key), tables=_TABLES)
        return read.value

    async def _days(self) -> dict[str, list[date]]:
        """Captured session dates of every exchange, newest first."""
        read = await self._backend.reader.read("chain_dates", captured_dates, tables=_TABLES)
        days: dict[str, list[date]] = read.value
        return days

    async def _view(self, asked: Values) -> Values:
        reader, told = self._backend.reader, list[str]()
        days = await self._days()
        if not days:
            return {"told": told}
        exchange = _one_of(asked["exchange"], list(days), next(iter(sorted(days, reverse=True))), told)
        day = _one_of(_date(asked["date"]), days[exchange], days[exchange][0], told)
        found = (
            await reader.read(
                ("chain_choices", exchange, day), lambda it: choices(it, exchange, day), tables=_TABLES
            )
        ).value
        if not found:
            return {"told": told}
        keys = {one.key.text: one for one in found}
        default = _nearest(asked["chain"], list(keys)) or first_choice(found).key.text
        chosen = keys[_one_of(asked["chain"], list(keys), default, told)]
        steps = await self.course(chosen.key)
        place = len(steps) - 1
        if asked["at"]:
            place = place_at(steps, self._time(asked["at"]))
        return {
            "view": {"days": days, "choices": found, "chosen": chosen},
            "told": told,
            "shown": await self.moment(chosen.key, place),
        }

    def _time(self, text: str) -> datetime:
        """A moment; without an offset it is one of the page's zone."""
        try:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=self._backend.zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise MalformedInputError(f"{text!r} is no time: give 2026-10-26T10:15") from None


def _one_of(wanted: Any, known: list[Any], default: Any, told: list[str]) -> Any:
    """What is wanted, if there is such a thing; else the default, which is told."""
    if not wanted or wanted in known:
        return wanted or default
    told.append(f"{_words(wanted)} was not captured; this is {_words(default)}")
    return default


def _words(value: Any) -> str:
    """As a form's value is read: `NIFTY 2026-10-27 live` for a chain."""
    return " ".join(reversed(str(value).split("|", 2))) if "|" in str(value) else str(value)


def _nearest(wanted: str, known: list[str]) -> str | None:
    """A chain of the same underlying and source, for another day has other expiries: the next one."""
    parts = wanted.split("|", 2)
    same = [one for one in sorted(known) if len(parts) == 3 and one.split("|", 2)[1:] == parts[1:]]
    return next((one for one in same if one >= wanted), same[-1] if same else None)


def _date(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise MalformedInputError(f"{text!r} is no date: give 2026-10-26") from None


def _key(exchange: str, day: str, chain: str) -> ChainKey:
    parts, when = chain.split("|", 2), _date(day)
    if len(parts) != 3 or when is None or (expiry := _date(parts[0])) is None:
        raise MalformedInputError("this needs exchange, date and chain (EXPIRY|SOURCE|SYMBOL)")
    return ChainKey(exchange, when, parts[2], expiry, parts[1])


Text = FromQuery[str]


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    look = ChainLook(backend)

    @get("/chain", name="chain")
    async def page(
        request: Request[Any, Any, Any],
        exchange: Text = "",
        date: Text = "",
        chain: Text = "",
        at: Text = "",
    ) -> Template:
        """The page; a chain that takes longer than a blink loads itself."""
        asked = {"exchange": exchange, "date": date, "chain": chain, "at": at}
        try:
            values = await asyncio.wait_for(look.view(asked), _FIRST_PAINT_S)
        except TimeoutError:
            values = {"loads": urlencode(asked)}
        return await renderer.page(backend, "chain", request, **values)

    @get("/chain/view")
    async def view(
        exchange: Text = "",
        date: Text = "",
        chain: Text = "",
        at: Text = "",
    ) -> Template:
        """What was chosen in the form."""
        asked = {"exchange": exchange, "date": date, "chain": chain, "at": at}
        return Template("chain_view.html", context=await look.view(asked))

    @get("/chain/moment")
    async def at_moment(exchange: Text, date: Text, chain: Text, place: FromQuery[int]) -> Template:
        """What stands at a place of the slider."""
        shown = await look.moment(_key(exchange, date, chain), place)
        return Template("chain_moment.html", context={"shown": shown})

    @get("/chain/course.json")
    async def course_json(exchange: Text, date: Text, chain: Text) -> Response[str]:
        """The chart of the session's course."""
        steps = await look.course(_key(exchange, date, chain))
        return Response(course_chart(steps).as_json(), media_type="application/json")

    return Opened([page, view, at_moment, course_json])


SECTION = Section(
    "chain", "/chain", "Chain", "Open interest, put-call ratio and smile of any captured moment.", _opened
)
