"""The ASGI application: sections, streams, files, and the guard around them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, Request, Response, get, post
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import CacheControlHeader
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Body, FromPath, FromQuery
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Stream, Template
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig
from litestar.types import ASGIApp

from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.live import Fragment, LiveFeed, Produce
from monitors.dashboard.rendering import Renderer, environment
from monitors.dashboard.scrape import Scrape
from monitors.dashboard.sections import SECTIONS
from monitors.dashboard.sections.section import Section
from monitors.dashboard.security import Access, Guard
from monitors.dashboard.strip import strip_of
from monitors.dashboard.wrong_tokens import WrongTokens
from monitors.prometheus import CONTENT_TYPE

logger = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
_BODY_BYTES = 1_000_000
_COOKIE_S = 30 * 86_400


class Dashboard:
    """The application, and what a server has to stop."""

    def __init__(
        self,
        backend: Backend,
        access: Access,
        *,
        sections: Sequence[Section] = SECTIONS,
        wrong: WrongTokens | None = None,
    ) -> None:
        """Put the page of one lake together; nothing is read yet.

        Args:
            backend: The lake.
            access: Who may look.
            sections: In the order of the navigation.
            wrong: Counts wrong tokens.
        """
        wrong = wrong or WrongTokens()
        self.backend = backend
        self.access = access
        self.renderer = Renderer(environment(backend.zone))
        templates = self.renderer.templates
        templates.globals |= {
            "sections": sections, "lake": str(backend.settings.root), "zone": backend.settings.timezone,
            "assets": _digest_of(STATIC), "who": "", "streamed": False,
        }  # fmt: skip
        opened = {section.name: section.opened(backend, self.renderer) for section in sections}
        self._closing = [one.close for one in opened.values()]
        produce = {name: partial(self._fragments, one.live) for name, one in opened.items()}
        self.live = LiveFeed(produce)
        handlers: list[Any] = [self._stream(), self._metrics(), *_login(access, wrong)]
        for section in sections:
            self.renderer.sections[section.name] = section
            handlers += opened[section.name].handlers
        key = access.token or secrets.token_hex(32)
        self.litestar = Litestar(
            route_handlers=[
                *handlers,
                create_static_files_router(
                    path="/static", directories=[STATIC],
                    cache_control=CacheControlHeader(max_age=31_536_000, public=True, immutable=True),
                ),
            ],
            template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(templates)),
            csrf_config=CSRFConfig(
                secret=hashlib.sha256(f"csrf {key}".encode()).hexdigest(),
                # A cookie of an earlier process would never fit, and browsers keep one jar for all ports.
                cookie_name=f"strikelake_csrf_{hashlib.sha256(key.encode()).hexdigest()[:8]}",
                cookie_httponly=True, cookie_samesite="strict", header_name="x-csrf-token",
            ),
            exception_handlers={
                StrikelakeError: self._our_error, HTTPException: self._http_error, Exception: self._fault,
            },
            lifespan=[self._lifespan],
            openapi_config=None,
            request_max_body_size=_BODY_BYTES,
            logging_config=None,
            debug=False,
        )  # fmt: skip
        self.asgi: ASGIApp = Guard(self.litestar, access, wrong)

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncIterator[None]:
        del app
        self.backend.health.begin()
        warming = asyncio.create_task(self._warm())
        try:
            yield
        finally:
            warming.cancel()
            self.live.close()
            for close in self._closing:
                close()
            self.backend.close()

    async def _warm(self) -> None:
        """Look once at everything, so that the first reader does not wait for imports and templates."""
        for name in self.live.sections:
            try:
                await self.live.produced(name)
            except Exception as error:  # whoever looks later is told
                logger.exception(
                    "warming failed", extra={"action": "warm", "section": name, "error": str(error)}
                )

    async def _fragments(self, produce: Produce | None) -> list[Fragment]:
        """What a section's stream brings: the line on top, and what the section itself says."""
        backend = self.backend
        strip = strip_of(backend.calendar, backend.exchanges, await backend.alerts.alerts(), backend.clock())
        made = [self.renderer.fragment("strip", "strip.html", strip=strip)]
        return made if produce is None else [*made, *await produce()]

    def _stream(self) -> Any:
        @get("/live/{section:str}", media_type="text/event-stream")
        async def live(section: FromPath[str]) -> Response[Any] | Stream:
            """Server-sent events of a section."""
            if section not in self.live:
                raise NotFoundException
            if self.live.is_full:
                # The page's script tries again.
                return Response("too many pages are open\n", status_code=503, media_type="text/plain")
            headers = {"x-accel-buffering": "no"}
            return Stream(self.live.stream(section), media_type="text/event-stream", headers=headers)

        return live

    def _metrics(self) -> Any:
        scrape = Scrape(self.backend)

        @get("/metrics")
        async def metrics() -> Response[bytes]:
            """The state of the monitors as Prometheus reads it."""
            return Response(await scrape.text(), media_type=CONTENT_TYPE)

        return metrics

    def _our_error(self, request: Request[Any, Any, Any], error: StrikelakeError) -> Response[Any]:
        return self._told(request, 409, "This could not be done", str(error))

    def _http_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        return self._told(request, error.status_code, f"{error.status_code}", error.detail or "")

    def _fault(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        logger.error("page failed", exc_info=error, extra={"action": "page", "path": request.url.path})
        told = f"A fault of the page itself ({type(error).__name__}); the log of the dashboard has more."
        return self._told(request, 500, "This did not work", told)

    def _told(self, request: Request[Any, Any, Any], status: int, title: str, told: str) -> Response[Any]:
        """An error as a page, as a fragment for htmx, or as JSON for a chart."""
        if request.headers.get("hx-request"):
            html = self.renderer.html("error_card.html", told=told)
            return Response(html, status_code=status, media_type="text/html")
        if "text/html" not in request.headers.get("accept", ""):
            return Response({"detail": told}, status_code=status)
        html = self.renderer.html("error.html", title=title, told=told)
        return Response(html, status_code=status, media_type="text/html")


def _login(access: Access, wrong: WrongTokens) -> list[Any]:
    if access.token is None:
        return []

    @get("/login", name="login", sync_to_thread=False)
    def ask(next: FromQuery[str] = "/") -> Template:  # noqa: A002 - the name in the address
        """The form."""
        return Template("login.html", context={"next": _local(next), "refused": False, "wait_s": 0})

    @post("/login", sync_to_thread=False)
    def log_in(
        request: Request[Any, Any, Any],
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[Any]:
        """Look at the token."""
        target = _local(data.get("next", "/"))
        if not access.is_token(data.get("token", "").strip()):
            wait_s = wrong.count(request.client.host if request.client else "")
            context = {"next": target, "refused": True, "wait_s": wait_s}
            headers = {"retry-after": str(wait_s)} if wait_s else None
            return Template(
                "login.html", context=context, status_code=429 if wait_s else 403, headers=headers
            )
        answer = Redirect(target, status_code=303)
        answer.set_cookie(
            access.cookie, access.pass_of(), max_age=_COOKIE_S, httponly=True, samesite="strict",
            # Whoever lies about it harms their own cookie alone.
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
        )  # fmt: skip
        return answer

    return [ask, log_in]


def _local(address: str) -> str:
    """An address of ours: another site's must not be where a login leads."""
    is_plain = address.isprintable() and "\\" not in address
    return address if is_plain and address.startswith("/") and not address.startswith("//") else "/"


def _digest_of(folder: Path) -> str:
    """A short digest of every file, for addresses that browsers may remember for ever."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]
