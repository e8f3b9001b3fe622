"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from litestar.types import ControllerRouterHandler

from monitors.dashboard.backend import Backend
from monitors.dashboard.live import Produce
from monitors.dashboard.rendering import Renderer


@dataclass(frozen=True, slots=True)
class Opened:
    """A section of a running page.

    Attributes:
        handlers: Its routes; the first one is its page.
        live: How its fragments are made, None if nothing changes by itself.
        close: Called once when the page is stopped.
    """

    handlers: Sequence[ControllerRouterHandler]
    live: Produce | None = None
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Attributes:
        name: Short name: of its template, of its stream, in its addresses.
        path: Address of its page.
        title: In the navigation.
        about: What a reader finds, one sentence.
        opened: Makes it for one lake.
    """

    name: str
    path: str
    title: str
    about: str
    opened: Callable[[Backend, Renderer], Opened]
