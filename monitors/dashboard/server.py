"""Serve the page: bind, print where, and end at Ctrl-C although streams are open."""

from __future__ import annotations

import errno
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from lake.errors import SettingsError

if TYPE_CHECKING:
    from monitors.dashboard.app import Dashboard

_GRACE_S = 3


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens: its port is known, and who comes before the server is ready waits.

    Raises:
        SettingsError: The port is in use, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # On Windows this would let two servers share a port.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"port {port} is in use: give another with --port, 0 for any") from error
        raise SettingsError(f"--host {host}: {error.strerror or error}") from error
    return made


class Server(uvicorn.Server):
    """uvicorn, which waits for open answers when it ends: the streams are ended first."""

    def __init__(self, config: uvicorn.Config, dashboard: Dashboard) -> None:
        super().__init__(config)
        self._dashboard = dashboard

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams, then the server."""
        self._dashboard.live.close_soon()
        super().handle_exit(sig, frame)


def configured(dashboard: Dashboard) -> uvicorn.Config:
    """How the page is served."""
    return uvicorn.Config(
        dashboard.asgi,
        # httptools, which uvicorn would take where it is installed, keeps a header of any length.
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_S,
    )


def serve(dashboard: Dashboard, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    Server(configured(dashboard), dashboard).run(sockets=[listening])
