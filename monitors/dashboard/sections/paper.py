"""Paper trading: profit and loss, positions, trades and violations of each exchange."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.paper_view import Row, counts_chart, course, pnl_chart, results, standing
from monitors.dashboard.sections.section import Opened, Section
from monitors.dashboard.session_state import session_state
from monitors.phase2 import Summary, read_summary, summary_file

_AGE_METRIC = "summary_age_s"

Values = dict[str, Any]


class PaperLook:
    """Values of the templates of this section."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def card(self, exchange: str, asked: str = "") -> Values:
        """The newest figures of an exchange, and the course of a session: the newest by default."""
        problems: list[str] = []
        summary = await self._summary(exchange, problems)
        rows: list[Row] = []
        try:
            read = await self._backend.reader.read(
                ("paper_trading", exchange), lambda session: course(session, exchange),
                tables=["paper_trading_metrics"],
            )  # fmt: skip
            rows = read.value
        except StrikelakeError as error:
            problems.append(str(error))
        sessions = results(rows)
        dates = [one.date for one in sessions]
        day = next((one for one in dates if str(one) == asked), dates[0] if dates else None)
        shown = [row for row in rows if row["date"] == day]
        return {
            "exchange": exchange, "summary": summary, "problems": problems, "sessions": sessions, "day": day,
            "told": f"{asked} is not among the last sessions" if asked and str(day) != asked else "",
            "standing": standing(rows, summary), "stale_after": self._stale_after(exchange),
            "pnl": pnl_chart(shown), "counts": counts_chart(shown),
        }  # fmt: skip

    async def _summary(self, exchange: str, problems: list[str]) -> Summary:
        settings = self._backend.settings
        path = summary_file(settings.phase2_metrics_dir, exchange)
        try:
            return await asyncio.to_thread(read_summary, path, timezone=settings.timezone)
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
            return Summary(path, "unreadable")

    def _stale_after(self, exchange: str) -> float:
        """Seconds after which the figures are old, by the rule that alerts on it; 0 while no session runs."""
        backend = self._backend
        if not session_state(backend.calendar, exchange, backend.clock()).is_open:
            return 0
        limits = [rule.threshold for rule in backend.rules.enabled if rule.metric == _AGE_METRIC]
        return min(limits, default=0)


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    look = PaperLook(backend)

    @get("/paper", name="paper")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """A card an exchange."""
        cards = [await look.card(one) for one in backend.exchanges]
        return await renderer.page(backend, "paper", request, cards=cards)

    @get("/paper/{exchange:str}")
    async def card(exchange: FromPath[str], date: FromQuery[str] = "") -> Template:
        """The card of an exchange: of a session that was chosen, or asked for again while it runs."""
        return Template("paper_card.html", context={"card": await look.card(backend.watched(exchange), date)})

    return Opened([page, card])


SECTION = Section("paper", "/paper", "Paper trading", "Profit and loss, positions, violations.", _opened)
