"""The page of a lake over HTTP, as a browser on the same machine asks for it, at a moment that is given."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from litestar.testing import TestClient

from lake.settings import Settings
from monitors.dashboard.app import Dashboard
from monitors.dashboard.backend import Backend
from monitors.dashboard.security import Access
from monitors.rules import load_rules


@contextmanager
def browsing(settings: Settings, now: datetime) -> Iterator[TestClient[Any]]:
    """A client of the page."""
    rules = load_rules(settings.rules_file or settings.root / "rules.yaml")
    backend = Backend.of(settings, rules, clock=lambda: now.astimezone(UTC))
    with TestClient(Dashboard(backend, Access()).asgi, base_url="http://127.0.0.1") as client:
        yield client


def chart_in(page: str, element: str) -> dict[str, Any]:
    """The chart that a page draws in an element, as `charts.js` reads it."""
    found = re.search(rf'id="{element}"[^>]*data-chart="([^"]*)"', page)
    assert found, f"no chart {element}"
    document: dict[str, Any] = json.loads(html.unescape(found[1]))
    return document


def text_of(page: str) -> str:
    """What a page says: without tags, with single spaces, and ASCII's minus for dashes."""
    text = html.unescape(re.sub(r"<[^>]*>", " ", page.replace("<wbr>", "")))
    return re.sub(r"\s+", " ", text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-"))
