"""Debian's Chromium, driven by Playwright, and what it complains of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAM = "chromium"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SCREENSHOTS = os.environ.get("STRIKELAKE_SCREENSHOTS")
"""Folder that pictures are left in, for CI to keep."""

_HIDDEN_FROM_AXE = {"exclude": [["iframe"]]}


def missing(why: str) -> NoReturn:
    """Skip the test, but not in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none, but fails in CI."""
    program = shutil.which(PROGRAM)
    if program is None:
        missing("there is no chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright axe-playwright-python")
    with sync_playwright() as playwright:
        # --no-sandbox: as root, and in containers, Chromium has no sandbox to give.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page in a browser, and what the browser complained of.

    Attributes:
        page: The page.
        complaints: Errors and warnings of the console, exceptions, requests that failed.
        outside: Addresses of other hosts that were asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def axe(self) -> list[dict[str, Any]]:
        """Violations of WCAG 2.1 A and AA, and of axe's best practices, that axe-core finds."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, _HIDDEN_FROM_AXE)
        violations: list[dict[str, Any]] = found.response["violations"]
        return violations

    def picture(self, name: str) -> None:
        """Leave a picture of the whole page, where a folder is given for them."""
        if SCREENSHOTS:
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@contextmanager
def watched(browser: Browser, *, size: str = "desktop", scheme: str = "light") -> Iterator[Watched]:
    """A fresh profile of a size and a colour scheme."""
    width, height = SIZES[size]
    is_phone = size == "phone"
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=is_phone,
        is_mobile=is_phone,
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        seen = Watched(page)
        page.on("console", lambda one: _note(seen, one.type, one.text))
        page.on("pageerror", lambda error: seen.complaints.append(f"exception: {error}"))
        page.on("requestfailed", lambda request: _failed(seen, request))
        page.on("request", lambda request: _asked(seen, request.url))
        yield seen
    finally:
        context.close()


def _note(seen: Watched, kind: str, text: str) -> None:
    if kind in {"error", "warning"}:
        seen.complaints.append(f"{kind}: {text}")


def _failed(seen: Watched, request: Any) -> None:
    # A stream ends when its page is left, what a page still waits for is given up, and a download leaves the
    # page: no failures. What a server refuses or does not have has another error.
    if request.failure != "net::ERR_ABORTED":
        seen.complaints.append(f"request failed: {request.url} {request.failure}")


def _asked(seen: Watched, url: str) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        seen.outside.append(url)
