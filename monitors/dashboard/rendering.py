"""Jinja, with everything escaped and nothing undefined."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request
from litestar.response import Template

from monitors.dashboard.backend import Backend
from monitors.dashboard.figures import filters, plain, sparkline
from monitors.dashboard.live import Fragment
from monitors.dashboard.runbook_html import runbook_html
from monitors.dashboard.strip import strip_of

TEMPLATES = Path(__file__).with_name("templates")


def environment(zone: ZoneInfo) -> Environment:
    """The templates, with times in a zone; every value is escaped, one that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(filters(zone))
    made.filters["plain"] = plain
    made.filters["runbook"] = runbook_html
    made.globals["sparkline"] = sparkline
    made.globals["version"] = importlib.metadata.version("strikelake")
    return made


class Renderer:
    """Makes HTML from templates."""

    def __init__(self, templates: Environment) -> None:
        self.templates = templates
        self.sections: dict[str, Any] = {}

    async def page(
        self, backend: Backend, section: str, request: Request[Any, Any, Any], **values: Any
    ) -> Template:
        """The page of a section: the template of its name, with what every page shows."""
        now = backend.clock()
        strip = strip_of(backend.calendar, backend.exchanges, await backend.alerts.alerts(), now)
        who = request.scope.get("state", {}).get("who", "")
        context = {"section": self.sections[section], "strip": strip, "now": now, "who": who, **values}
        return Template(f"{section}.html", context=context)

    def html(self, name: str, **values: Any) -> str:
        """A template as text."""
        return self.templates.get_template(name).render(**values)

    def fragment(self, target: str, name: str, **values: Any) -> Fragment:
        """A template that replaces the element of an id, which its outermost element must have.

        It is `streamed`: the stream itself says how old it is, so that what has not changed stays the same.
        """
        return Fragment(target, self.html(name, id=target, streamed=True, **values).strip())
