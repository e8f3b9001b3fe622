"""The page people look at: what the feed, the lake, the model and the alerts do, in a browser."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from lake.cli import settings_of
from lake.errors import SettingsError, TableNotFoundError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only with a token, or behind a proxy

_EXAMPLES = """
\b
Examples:
  strikelake dashboard --open
  strikelake dashboard --host 0.0.0.0          others need the token it names
  strikelake dashboard --trusted-proxy-header X-Forwarded-User
"""


@app.command(epilog=_EXAMPLES)
def dashboard(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for any that is free.")] = 8501,
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    token: Annotated[bool, typer.Option("--token", help="Ask for the token on 127.0.0.1 as well.")] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name it is asked for by; may be repeated."),
    ] = None,
    trusted_proxy_header: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Header in which a proxy names who it let in."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="The proxy, if not on this machine; may be repeated."),
    ] = None,
) -> None:
    """Serve the monitoring page of this lake until Ctrl-C.

    On 127.0.0.1 whoever is on this machine may look. On any other address it
    asks for a token, which is kept in a file that only you can read, or it
    takes the word of a reverse proxy.
    """
    from monitors.dashboard.app import Dashboard
    from monitors.dashboard.backend import Backend
    from monitors.dashboard.security import LOOPBACK_NAMES, Access, is_loopback
    from monitors.dashboard.server import bound, serve
    from monitors.dashboard.token_file import token_of
    from monitors.rules import load_rules

    settings = settings_of(ctx)
    if not settings.root.is_dir():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    if trusted_proxy and trusted_proxy_header is None:
        raise SettingsError("--trusted-proxy says whose header is believed: give --trusted-proxy-header too")
    rules = load_rules(settings.rules_file or settings.root / "rules.yaml")
    secret, file = None, None
    if token or (trusted_proxy_header is None and not is_loopback(host)):
        secret, file = token_of(settings.root)
    listening = bound(host, port)
    port = listening.getsockname()[1]
    everywhere = host in _EVERYWHERE
    access = Access(
        hosts=LOOPBACK_NAMES | {name.lower() for name in (host, *(allowed_host or ()))},
        any_address=everywhere,
        token=secret,
        proxy_header=trusted_proxy_header,
        proxies=frozenset(trusted_proxy or ("127.0.0.1", "::1")),
        port=port,
    )
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if everywhere else shown}:{port}/"
    typer.echo(url)
    if file is not None:
        typer.echo(f"it asks for the token in {file}", err=True)
    if secret is not None and not is_loopback(host):
        typer.echo("without TLS whoever is on the way can read it: better behind a proxy", err=True)
    if open_:
        import webbrowser

        webbrowser.open(url)
    # uvicorn hands Ctrl-C on once it has ended cleanly.
    with suppress(KeyboardInterrupt):
        serve(Dashboard(Backend.of(settings, rules), access), listening)
    typer.echo("stopped", err=True)
