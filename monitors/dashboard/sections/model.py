"""Model: what the models look at, in general (importance, SHAP) and in the last signals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template

from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.model_reports import ModelReports, beeswarms, read_reports, reports_folder
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.model_view import boxes, last_signals, regime_tables, weights
from monitors.dashboard.sections.section import Opened, Section
from monitors.drift_model import feature_counts, model_in_use

_PLOT_BYTES = 10_000_000

Values = dict[str, Any]


class ModelLook:
    """Values of the templates of this section."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def importance(self) -> list[Values]:
        """A card an exchange: what the trees use."""
        return [
            one | {"weights": weights(one["reports"].importance.report)}
            if one["reports"].importance.report
            else one
            for one in await self._reports()
        ]

    async def shap(self) -> list[Values]:
        """A card an exchange: what moves the scores."""
        cards = []
        for one in await self._reports():
            top, summary = one["reports"].top.report, one["reports"].summary.report
            cards.append(
                one
                | {
                    "regimes": regime_tables(top) if top else [],
                    "boxes": {output: boxes(summary, output) for output in summary.outputs}
                    if summary
                    else {},
                }
            )
        return cards

    async def signals(self, exchange: str) -> Values:
        """The last signals of an exchange."""
        try:
            read = await self._backend.reader.read(
                ("signals", exchange), lambda session: last_signals(session, exchange), tables=["signals"]
            )
        except StrikelakeError as error:
            return {"exchange": exchange, "signals": [], "problem": str(error)}
        versions = {str(one.row["model_version"]) for one in read.value}
        known = await asyncio.to_thread(feature_counts, self._backend.settings.models_dir, exchange, versions)
        return {"exchange": exchange, "signals": read.value, "problem": "", "feature_counts": known}

    def plot(self, exchange: str, output: str) -> Path:
        """A beeswarm beside the reports.

        Raises:
            NotFoundException: There is none of that name.
        """
        folder = reports_folder(self._backend.settings.models_dir, self._backend.watched(exchange))
        # Looked up among what is there: what the address says never becomes a path.
        found = beeswarms(folder).get(output)
        if found is None or found.stat().st_size > _PLOT_BYTES:
            raise NotFoundException("there is no such plot")
        return found

    async def _reports(self) -> list[Values]:
        models = self._backend.settings.models_dir
        return [await asyncio.to_thread(_report, models, one) for one in self._backend.exchanges]


def _report(models: Path, exchange: str) -> Values:
    reports = read_reports(models, exchange)
    return {"exchange": exchange, "reports": reports, "warning": _warning(models, exchange, reports)}


def _warning(models: Path, exchange: str, reports: ModelReports) -> str:
    """Says so if the reports are of another model than the one in use."""
    known = [one.report for one in (reports.importance, reports.top, reports.summary) if one.report]
    versions = {str(one.model_version) for one in known}
    if len(versions) > 1:
        return f"the reports are of different models: {', '.join(sorted(versions))}"
    try:
        used = model_in_use(models, exchange).model_version
    except StrikelakeError:
        return ""  # reports of a model that was trained elsewhere
    if versions and used not in versions:
        return f"the model in use is {used}; these reports are of {versions.pop()}"
    return ""


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    look = ModelLook(backend)

    @get("/model", name="model")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """What the trees use."""
        cards = await look.importance()
        return await renderer.page(backend, "model", request, tab="importance", cards=cards)

    @get("/model/shap")
    async def shap(request: Request[Any, Any, Any]) -> Template:
        """What moves the scores."""
        return await renderer.page(backend, "model", request, tab="shap", cards=await look.shap())

    @get("/model/signals")
    async def signals(request: Request[Any, Any, Any]) -> Template:
        """The last signals."""
        cards = [await look.signals(one) for one in backend.exchanges]
        return await renderer.page(backend, "model", request, tab="signals", cards=cards)

    @get("/model/signals/{exchange:str}")
    async def newest(exchange: FromPath[str]) -> Template:
        """The card of an exchange, asked for again and again while it is looked at."""
        card = await look.signals(backend.watched(exchange))
        return Template("model_signals.html", context={"card": card})

    @get("/model/beeswarm/{exchange:str}/{output:str}")
    async def beeswarm(exchange: FromPath[str], output: FromPath[str]) -> Response[bytes]:
        """A plot beside the reports."""
        content = await asyncio.to_thread(lambda: look.plot(exchange, output).read_bytes())
        return Response(content, media_type="image/png")

    return Opened([page, shap, signals, newest, beeswarm])


SECTION = Section("model", "/model", "Model", "Feature importance, SHAP, and the last signals.", _opened)
