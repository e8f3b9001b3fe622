"""Drift: scores of features and windows, verdicts, and Evidently's reports in a sandbox."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.drift_view import (
    DriftChoice,
    drift_choices,
    drift_course,
    method_name,
    report_files,
)
from monitors.dashboard.sections.section import Opened, Section
from monitors.dashboard.security import SANDBOXED
from monitors.drift_service import reports_folder

_TABLES = ("drift_scores",)
_REPORT_BYTES = 50_000_000
"""Evidently's reports have 4 to 7 megabytes."""

Values = dict[str, Any]


class DriftLook:
    """Values of the templates of this section."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def card(self, exchange: str, asked: str = "") -> Values:
        """Scores of an exchange: those asked for, else of the method that flags most in the newest window."""
        card: Values = {
            "exchange": exchange, "choices": [], "chosen": None, "features": [], "unit": "", "problem": "",
            "told": "", "asked": asked,
            "reports": await asyncio.to_thread(report_files, self.folder, exchange),
        }  # fmt: skip
        try:
            return card | await self._scores(exchange, asked)
        except StrikelakeError as error:
            return card | {"problem": str(error)}

    @property
    def folder(self) -> Path:
        """Where Evidently's reports are."""
        return reports_folder(self._backend.settings)

    def report(self, exchange: str, name: str) -> Path:
        """A report that is there.

        Raises:
            NotFoundException: There is none of that name.
        """
        # Looked up among what is there: what the address says never becomes a path.
        if exchange not in self._backend.exchanges:
            raise NotFoundException("no such exchange is watched")
        known = {one.name for one in report_files(self.folder, exchange) if one.size_bytes <= _REPORT_BYTES}
        if name not in known:
            raise NotFoundException("there is no such report; old ones are removed")
        return self.folder / exchange / name

    async def _scores(self, exchange: str, asked: str) -> Values:
        reader = self._backend.reader
        read = await reader.read(
            ("drift_choices", exchange), lambda session: drift_choices(session, exchange), tables=_TABLES
        )
        choices: list[DriftChoice] = read.value
        if not choices:
            return {}
        by_text = {one.key.text: one for one in choices}
        chosen = by_text.get(asked) or _most_telling(choices)
        features = await reader.read(
            ("drift_course", exchange, chosen.key),
            lambda session: drift_course(session, exchange, chosen.key),
            tables=_TABLES,
        )
        told = "" if not asked or asked in by_text else "the scores asked for are not there"
        unit = method_name(chosen.key.method)[1]
        return {
            "choices": choices, "chosen": chosen, "features": features.value, "unit": unit, "told": told
        }  # fmt: skip


def _most_telling(choices: list[DriftChoice]) -> DriftChoice:
    """Of the newest windows' scores those that flag most; else the level."""
    newest = [one for one in choices if one.key.dataset == choices[0].key.dataset]
    return max(newest, key=lambda one: (one.flagged_count, one.key.method == "level", one.last_window_end))


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    look = DriftLook(backend)

    @get("/drift", name="drift")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """A card an exchange."""
        cards = [await look.card(one) for one in backend.exchanges]
        return await renderer.page(backend, "drift", request, cards=cards)

    @get("/drift/scores/{exchange:str}")
    async def scores(exchange: FromPath[str], scores: FromQuery[str] = "") -> Template:
        """What was chosen in the form of a card."""
        return Template(
            "drift_card.html", context={"card": await look.card(backend.watched(exchange), scores)}
        )

    @get("/drift/frame/{exchange:str}/{name:str}")
    async def frame(exchange: FromPath[str], name: FromPath[str]) -> Template:
        """The frame that shows a report."""
        await asyncio.to_thread(look.report, exchange, name)
        return Template("drift_frame.html", context={"exchange": exchange, "name": name})

    @get("/drift/report/{exchange:str}/{name:str}")
    async def report(exchange: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        """Evidently's HTML: it runs without our origin, cookies or network."""
        content = await asyncio.to_thread(lambda: look.report(exchange, name).read_bytes())
        return Response(content, media_type="text/html; charset=utf-8", headers=dict(SANDBOXED))

    return Opened([page, scores, frame, report])


SECTION = Section("drift", "/drift", "Drift", "Features live against the training dataset.", _opened)
