"""Health: the rules with values and courses, the alerts, and what people do about them."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Template

from lake.errors import AlertNotFoundError, MalformedInputError, StrikelakeError
from monitors.alerting import opened_engine
from monitors.alerts import AlertState
from monitors.dashboard.backend import Backend
from monitors.dashboard.live import Fragment
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.health_model import (
    Sparks,
    alert_cards,
    disabled,
    failures_of,
    places,
    rule_rows,
    sparks,
    tally,
)
from monitors.dashboard.sections.section import Opened, Section
from monitors.matchers import Matcher
from monitors.rules import duration, runbook_sections

_DAYS = 2
_FIRST_PAINT_S = 0.15
_COMMENT_CHARS = 500

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


class HealthPage:
    """Values of the templates of this section."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._runbook = runbook_sections()

    async def summary(self) -> dict[str, Any]:
        """The monitor's last check, and what the page's own found."""
        check = self._backend.health.newest
        return {
            "alerts": await self._backend.alerts.alerts(), "check": check,
            "tally": tally(check) if check else None, "disabled": disabled(self._backend.rules),
        }  # fmt: skip

    async def alerts(self) -> dict[str, Any]:
        """The alerts and the silences."""
        found = await self._backend.alerts.alerts()
        active, resolved = alert_cards(found, self._runbook)
        return {"alerts": found, "active": active, "resolved": resolved, "now": self._backend.clock()}

    async def rules(self) -> list[dict[str, Any]]:
        """The rules of each exchange and of the lake."""
        check = self._backend.health.newest
        courses: Sparks = {}
        problem = ""
        if check is not None:
            try:
                courses = await self._courses()
            except StrikelakeError as error:
                problem = str(error)
        failures = check.measured.failures if check else []
        has_lake = await asyncio.to_thread(self._backend.settings.lake.exists)
        return [
            {
                "place": place,
                "rows": rule_rows(check, courses, place) if check else None,
                "failures": failures_of(failures, place),
                "has_lake": has_lake,
                "problem": problem,
                "checked_at": check.now if check else None,
            }
            for place in places(self._backend.rules)
        ]

    async def _courses(self) -> Sparks:
        first = self._backend.clock().astimezone(self._backend.zone).date() - timedelta(days=_DAYS)
        read = await self._backend.reader.read(
            ("sparks", first), lambda session: sparks(session, first), tables=["health_metrics"]
        )
        return read.value


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    made = HealthPage(backend)

    @get("/health", name="health")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """The page; the first check is waited for as long as a blink takes."""
        backend.health.begin()
        if backend.health.newest is None:
            with contextlib.suppress(TimeoutError, StrikelakeError):
                await asyncio.wait_for(backend.health.check(), _FIRST_PAINT_S)
        return await renderer.page(
            backend, "health", request,
            summary=await made.summary(), alarm=await made.alerts(), groups=await made.rules(),
        )  # fmt: skip

    async def live() -> list[Fragment]:
        backend.health.begin()
        groups = await made.rules()
        return [
            renderer.fragment("health-summary", "health_summary.html", summary=await made.summary()),
            renderer.fragment("health-alerts", "health_alerts.html", alarm=await made.alerts()),
            *(renderer.fragment(f"health-{one['place']}", "health_rules.html", group=one) for one in groups),
        ]

    @post("/health/acknowledge", status_code=200)
    async def acknowledge(request: Request[Any, Any, Any], data: Form) -> Template:
        """Somebody has seen an alert."""
        who, mark = _who(request), data.get("fingerprint", "")

        def do() -> None:
            why = _comment(data)
            with opened_engine(backend.settings, backend.rules) as (engine, _):
                engine.acknowledge(backend.clock(), mark, author=who, comment=why)

        return await changed(do)

    @post("/health/silence", status_code=200)
    async def silence(request: Request[Any, Any, Any], data: Form) -> Template:
        """Tell nobody of an alert for a while."""
        who, mark = _who(request), data.get("fingerprint", "")

        def do() -> None:
            why, length = _comment(data), duration(data.get("length", ""), what="the length of a silence")
            now = backend.clock()
            with opened_engine(backend.settings, backend.rules) as (engine, _):
                found = [
                    one for one in engine.alerts()
                    if one.fingerprint == mark and one.state is not AlertState.RESOLVED
                ]  # fmt: skip
                if not found:
                    raise AlertNotFoundError("this alert is over")
                labels = {"rule": found[0].finding.rule, **found[0].finding.labels}
                matchers = [Matcher(name, "=", value) for name, value in labels.items()]
                engine.silence(now, matchers, ends_at=now + length, author=who, comment=why)

        return await changed(do)

    @post("/health/end-silence", status_code=200)
    async def end_silence(data: Form) -> Template:
        """People are told again."""
        silence_id = data.get("id", "")

        def do() -> None:
            with opened_engine(backend.settings, backend.rules) as (engine, _):
                engine.expire_silence(backend.clock(), silence_id)

        return await changed(do)

    async def changed(do: Any) -> Template:
        """Do it, and show the alerts as they are then, or why it could not be done."""
        problem = ""
        try:
            await asyncio.to_thread(do)
        except StrikelakeError as error:
            problem = str(error)
        await backend.alerts.read()
        context = {"id": "health-alerts", "alarm": await made.alerts(), "problem": problem}
        return Template("health_alerts.html", context=context)

    return Opened([page, acknowledge, silence, end_silence], live)


def _comment(data: Mapping[str, str]) -> str:
    """What somebody says of an alert; every open page is sent it.

    Raises:
        MalformedInputError: It is longer than the form takes.
    """
    text = data.get("comment", "").strip()
    if len(text) > _COMMENT_CHARS:
        raise MalformedInputError(f"a comment may have {_COMMENT_CHARS} characters; this has {len(text):,}")
    return text


def _who(request: Request[Any, Any, Any]) -> str:
    """Whom the reverse proxy named; else the user that the dashboard runs as."""
    named = request.scope.get("state", {}).get("who", "")
    if named:
        return str(named)
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "dashboard"


SECTION = Section("health", "/health", "Health", "Every rule, every alert, and what to do.", _opened)
