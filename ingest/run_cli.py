"""The command `ingest run`: capture from a live source."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import command_line, settings_of
from lake.errors import SettingsError, StrikelakeError
from lake.output import TextOrJson, to_json

if TYPE_CHECKING:
    from catalog.reference import ReferenceData
    from ingest.live.connection import ConnectionState
    from ingest.live.delivery import Delivery
    from ingest.live.runner import Listen
    from lake.settings import Settings

SIMULATOR = "simulator"
WEBSOCKET = "websocket"
KITE = "kite"
UPSTOX_FEED = "upstox-feed"

LIVE_SOURCES = {
    SIMULATOR: "seeded sessions of NSE and BSE, as a tracker would hand them over",
    "nse-poll": "NSE's website, polled: chains of indices and stocks",
    "bse-poll": "BSE's website, polled: chains of SENSEX and BANKEX",
    "upstox": "Upstox's option-chain API (v2), polled with an access token",
    UPSTOX_FEED: "Upstox's market-data feed (v3, protobuf), gathered into chains",
    KITE: "Kite's binary ticker, gathered into chains",
    WEBSOCKET: "JSON messages of a WebSocket, in the format of a recording",
}

EPILOG = """
\b
Examples:
  strikelake ingest run --source simulator --speed 60
  strikelake ingest run --source nse-poll --symbols NIFTY,BANKNIFTY --every 60
  strikelake ingest run --source kite --symbols NIFTY --instruments nfo.csv
  strikelake ingest run --source upstox-feed --symbols NIFTY,SENSEX
  strikelake ingest run --source websocket --url wss://feed.example/nse
Credentials come from the environment (STRIKELAKE_KITE_API_KEY,
STRIKELAKE_KITE_ACCESS_TOKEN, STRIKELAKE_UPSTOX_ACCESS_TOKEN,
STRIKELAKE_WEBSOCKET_TOKEN) or the keyring, never from the command line.
"""


def run(
    ctx: typer.Context,
    source: Annotated[str, typer.Option(help="Live source, see 'strikelake ingest sources'.")] = SIMULATOR,
    symbols: Annotated[
        str | None, typer.Option(help="Underlyings, with commas between them: NIFTY,BANKNIFTY.")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds between polls (60; upstox 5), or chains of a ticker (1; 0: each tick)."
        ),
    ] = None,
    expiries: Annotated[int, typer.Option(min=1, max=40, help="Nearest expiries of each symbol.")] = 2,
    base_url: Annotated[
        str | None, typer.Option(help="Another server of the same kind, e.g. a proxy.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Of a websocket; {token} in it becomes the token.")] = None,
    message_format: Annotated[
        str, typer.Option("--format", help="Of its messages: nse-json, bse-json, upstox-chain.")
    ] = "nse-json",
    subscribe: Annotated[
        list[str] | None, typer.Option(help="Message to send on each connect; {token} as above.")
    ] = None,
    heartbeat: Annotated[
        list[str] | None, typer.Option(help="Message that only shows that the feed lives.")
    ] = None,
    silence: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds without data before a reconnect (60; kite 30).")
    ] = None,
    instruments: Annotated[
        Path | None, typer.Option(help="Kite's list of instruments, CSV or CSV.gz.")
    ] = None,
    user_agent: Annotated[str | None, typer.Option(help="Who a poller says it is.")] = None,
    always: Annotated[bool, typer.Option("--always", help="Also when no session runs.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.1, help="End after so many seconds.")
    ] = None,
    app_id: Annotated[str | None, typer.Option(help="Name of the stream  [default: live-SOURCE]")] = None,
    date: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Simulator: the session  [default: the last known one]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Simulator: same seed, same session.")] = 7,
    interval: Annotated[float, typer.Option(min=0.1, help="Simulator: seconds between chains.")] = 5.0,
    speed: Annotated[float, typer.Option(min=0.01, help="Simulator: simulated seconds a second.")] = 1.0,
    output: Annotated[TextOrJson, typer.Option(help="How to print the summary.")] = TextOrJson.TEXT,
) -> None:
    """Capture from a live source until Ctrl-C: watch it with 'strikelake sql --live'.

    Ctrl-C commits what was taken. A simulated session goes on where it stopped when it is run again with
    the same seed.
    """
    if source == SIMULATOR:
        _simulate(ctx, date, seed, interval, speed)
        return
    if source not in LIVE_SOURCES:
        raise SettingsError(
            f"no live source {source!r}; there are: {', '.join(LIVE_SOURCES)}. Recordings: 'ingest load'"
        )
    # First of all: httpx comes with other extras as well, websockets names the one that has all of them.
    import websockets  # noqa: F401

    from catalog.reference import ReferenceData
    from ingest.live.delivery import Delivery
    from ingest.live.runner import run_live
    from ingest.tap import StreamTap

    settings = settings_of(ctx, app_id=app_id or f"live-{source}")
    reference = ReferenceData.load(settings.root)
    given = {
        "symbols": [each.strip() for each in (symbols or "").split(",") if each.strip()],
        "every": every, "expiries": expiries, "base_url": base_url, "url": url, "format": message_format,
        "subscribe": subscribe or [], "heartbeat": heartbeat or [], "silence": silence,
        "instruments": instruments, "user_agent": user_agent, "always": always,
    }  # fmt: skip
    prepare = {WEBSOCKET: _websocket, KITE: _kite, UPSTOX_FEED: _upstox_feed}.get(source, _poll)
    listen = prepare(source, given, reference)
    tap = StreamTap(settings)
    states: dict[str, ConnectionState] = {}

    def note(state: ConnectionState) -> None:
        states[state.exchange] = state
        _show_state(state)

    delivery = Delivery(tap, source, on_state=note)
    typer.echo(f"{source}: Ctrl-C ends it and commits what was taken", err=True)
    result = run_live(
        tap,
        delivery,
        listen,
        for_s=seconds,
        progress=lambda: _show_progress(delivery, states),
        progress_s=10.0,
    )
    _summarise(settings, delivery, output, committed=result.committed)


def _poll(source: str, given: dict[str, Any], reference: ReferenceData) -> Listen:
    from ingest.live.addresses import checked_address
    from ingest.live.credentials import needed_credential
    from ingest.live.poll_sources import POLL_SOURCES
    from ingest.live.poller import Pace, Poller

    chosen = POLL_SOURCES[source]
    _need_symbols(given)
    every = chosen.every_s if given["every"] is None else given["every"]
    if every < 1:
        raise SettingsError("--every: a poller asks once a second at most")
    if given["user_agent"]:
        chosen = replace(chosen, headers={**chosen.headers, "User-Agent": given["user_agent"]})
    for symbol in given["symbols"]:
        chosen.key_of(symbol)
    base_url = given["base_url"]
    address = checked_address(base_url, schemes=("http", "https")) if base_url else None
    bearer = needed_credential(chosen.credential, os.environ) if chosen.credential else None

    async def listen(delivery: Delivery) -> None:
        poller = Poller(
            chosen, given["symbols"], reference, delivery, pace=Pace(every_s=every), address=address,
            expiries=given["expiries"], bearer=bearer, always=given["always"],
            rng=random.Random(),  # noqa: S311 - jitter, no secret
        )  # fmt: skip
        await poller.run()

    return listen


def _kite(source: str, given: dict[str, Any], reference: ReferenceData) -> Listen:
    from ingest.live import kite
    from ingest.live.addresses import checked_address
    from ingest.live.credentials import KITE_ACCESS_TOKEN, KITE_API_KEY, needed_credential
    from ingest.live.kite_instruments import choose, read_instruments
    from ingest.live.websocket import Limits

    _need_symbols(given)
    if given["instruments"] is None:
        raise SettingsError(
            "--instruments: save today's https://api.kite.trade/instruments/NFO (or /BFO) and give the file;"
            " the INDICES lines of the full list add the underlyings' prices"
        )
    address = checked_address(given["base_url"] or kite.KITE_ADDRESS, schemes=("ws", "wss"))
    today = reference.calendar.session_date("NSE", datetime.now(UTC))
    chosen = choose(
        read_instruments(given["instruments"]), given["symbols"], expiries=given["expiries"], today=today
    )
    kite.split_tokens(chosen.tokens)
    api_key = needed_credential(KITE_API_KEY, os.environ)
    access_token = needed_credential(KITE_ACCESS_TOKEN, os.environ)
    every = 1.0 if given["every"] is None else given["every"]

    async def listen(delivery: Delivery) -> None:
        await kite.listen(
            chosen, delivery, api_key=api_key, access_token=access_token, address=address, every_s=every,
            limits=Limits(silence_s=given["silence"] or 30.0),
            expects_data=_in_session(reference, chosen.exchanges, given["always"]),
        )  # fmt: skip

    del source
    return listen


def _upstox_feed(source: str, given: dict[str, Any], reference: ReferenceData) -> Listen:
    import google.protobuf  # noqa: F401 - named by the extra that has it, if it is not there

    from ingest.live import upstox_feed
    from ingest.live.addresses import checked_address
    from ingest.live.credentials import UPSTOX_ACCESS_TOKEN, needed_credential
    from ingest.live.poll_sources import UPSTOX
    from ingest.live.websocket import Limits

    _need_symbols(given)
    for symbol in given["symbols"]:
        UPSTOX.key_of(symbol)
    address = checked_address(given["base_url"] or UPSTOX.address, schemes=("http", "https"))
    access_token = needed_credential(UPSTOX_ACCESS_TOKEN, os.environ)
    every = 1.0 if given["every"] is None else given["every"]

    async def listen(delivery: Delivery) -> None:
        await upstox_feed.listen(
            given["symbols"], delivery, access_token=access_token, expiries=given["expiries"],
            today=lambda exchange: reference.calendar.session_date(exchange, datetime.now(UTC)),
            address=address, every_s=every, limits=Limits(silence_s=given["silence"] or 60.0),
            expects_data=lambda exchanges: _in_session(reference, exchanges, given["always"])(),
        )  # fmt: skip

    del source
    return listen


def _websocket(source: str, given: dict[str, Any], reference: ReferenceData) -> Listen:
    from pydantic import SecretStr

    from ingest.live.addresses import checked_address, origin
    from ingest.live.credentials import WEBSOCKET_TOKEN, credential, needed_credential
    from ingest.live.messages import MessageReader, read_payload
    from ingest.live.websocket import Endpoint, Limits, WebSocketFeed

    if not given["url"]:
        raise SettingsError("--url: a websocket needs an address")
    address = checked_address(given["url"], schemes=("ws", "wss"))
    read_payload(given["format"])
    exchange = "BSE" if given["format"] == "bse-json" else "NSE"
    wants_token = any("{token}" in text for text in (address, *given["subscribe"]))
    token = (
        needed_credential(WEBSOCKET_TOKEN, os.environ)
        if wants_token
        else (credential(WEBSOCKET_TOKEN, os.environ))
    )
    secret = token.get_secret_value() if token else ""
    headers = {"Authorization": f"Bearer {secret}"} if token and not wants_token else {}
    endpoint = Endpoint(
        url=SecretStr(address.replace("{token}", secret)),
        shown=origin(address),
        headers=headers,
        subscriptions=tuple(text.replace("{token}", secret) for text in given["subscribe"]),
        refused_hint=f"check the token ({WEBSOCKET_TOKEN})",
    )
    heartbeats = frozenset(given["heartbeat"])

    async def listen(delivery: Delivery) -> None:
        reader = MessageReader(given["format"], reference, delivery, exchange=exchange)
        feed = WebSocketFeed(
            endpoint, delivery, reader.take, exchanges=(exchange,),
            limits=Limits(silence_s=given["silence"] or 60.0),
            is_data=lambda content: content not in heartbeats,
            expects_data=_in_session(reference, (exchange,), given["always"]),
        )  # fmt: skip
        await feed.run()

    del source
    return listen


def _need_symbols(given: dict[str, Any]) -> None:
    if not given["symbols"]:
        raise SettingsError("--symbols: say which underlyings, e.g. NIFTY,BANKNIFTY")


def _in_session(reference: ReferenceData, exchanges: tuple[str, ...], always: bool) -> Callable[[], bool]:
    """Whether data should come now: out of session, silence is no fault."""
    return lambda: (
        always or any(reference.calendar.is_open(exchange, datetime.now(UTC)) for exchange in exchanges)
    )


def _show_state(state: ConnectionState) -> None:
    at = datetime.fromtimestamp(state.since_ns / 1e9, UTC).astimezone()
    what = "up" if state.up else f"down: {state.why}"
    typer.echo(f"{at:%H:%M:%S} {state.source} {state.exchange} {what}", err=True)


def _show_progress(delivery: Delivery, states: dict[str, ConnectionState]) -> None:
    counts = delivery.counts
    typer.echo(
        f"{counts.chains:,} chains, {counts.rows:,} rows, {sum(counts.rejected.values()):,} rejected,"
        f" {sum(counts.dropped.values()):,} dropped",
        err=True,
    )
    for state in states.values():
        if not state.up:
            typer.echo(f"  {state.exchange} is still down: {state.why}; trying again", err=True)


def _summarise(settings: Settings, delivery: Delivery, output: TextOrJson, *, committed: bool) -> None:
    summary = {**delivery.summary(), "committed": committed}
    if output is TextOrJson.JSON:
        typer.echo(to_json(summary))
    else:
        counts = delivery.counts
        typer.echo(f"{counts.chains:,} chains, {counts.rows:,} rows captured; {counts.connects:,} connects")
        for word, found in (("in quarantine", counts.rejected), ("dropped", counts.dropped)):
            if found:
                reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(found.items()))
                typer.echo(f"{sum(found.values()):,} {word}: {reasons}")
        if not counts.connects:
            typer.echo("  the source was never reached: see what it was down for above", err=True)
        typer.echo(f"  ledger: {command_line(settings)} ingest status", err=True)
    sys.stdout.flush()
    if not committed:
        raise StrikelakeError(
            f"not all is committed; it is kept: {command_line(settings)} ingest commit --once"
            f" --app-id {settings.app_id}"
        )


def _simulate(ctx: typer.Context, date: datetime | None, seed: int, interval: float, speed: float) -> None:
    from catalog.reference import ReferenceData
    from ingest.simulated_feed import choose_day, play, session_progress

    settings = settings_of(ctx)
    reference = ReferenceData.load(settings.root)
    day = choose_day(reference, date.date() if date else None)
    with session_progress(reference, [day]) as progress:
        result = play(
            settings, reference, days=[day], seed=seed, interval_s=interval, speed=speed, progress=progress
        )
    typer.echo(f"{result.updates:,} chain updates of {day} captured; {result.known:,} were there before")
