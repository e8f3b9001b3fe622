"""Simulate sessions of NSE and BSE into a lake, and show what it answers."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lake.cli import command_line, settings_of
from lake.output import Format, show_rows

if TYPE_CHECKING:
    from lake.session import Session
    from lake.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_LATEST = """
SELECT symbol, strike, call_oi, call_ltp, call_iv, put_iv, put_ltp, put_oi
FROM latest_chain
WHERE symbol = 'NIFTY' AND abs(moneyness - 1) < 0.008
QUALIFY expiry = min(expiry) OVER ()
ORDER BY strike
"""
_PCR = """
SELECT exchange, symbol, expiry, strftime(bucket_start, '%H:%M') AS "from", pcr_oi, pcr_volume
FROM pcr_5m
QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY bucket_start DESC, expiry) = 1
ORDER BY symbol
"""
_MAX_PAIN = """
SELECT exchange, symbol, expiry, strftime(event_time, '%H:%M:%S') AS "at", underlying_price, max_pain
FROM max_pain
QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY event_time DESC, expiry) = 1
ORDER BY symbol
"""
_COUNT = "SELECT count(*) AS rows, max(event_time) AS newest FROM option_chain"


_EXAMPLES = """
\b
Examples:
  strikelake --root demo-lake demo --seed 7
  strikelake demo --sessions 10
"""


@app.command(epilog=_EXAMPLES)
def demo(
    ctx: typer.Context,
    date: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Session to simulate  [default: the last known one]",
        ),
    ] = None,
    sessions: Annotated[
        int, typer.Option(min=1, max=250, help="How many sessions, up to that one: a model needs several.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same sessions.")] = 7,
    interval: Annotated[float, typer.Option(min=1, help="Simulated seconds between chains.")] = 60.0,
) -> None:
    """Simulate sessions of NSE and BSE through the real tap, writer and mirror, and show the result.

    The prices are made up; the lake is a normal one. A session takes some seconds.
    """
    from catalog.reference import ReferenceData
    from ingest.simulated_feed import choose_day, play, session_progress, sessions_until

    # The micro-batches are the player's, one in 15 simulated minutes.
    settings = settings_of(ctx, app_id="demo", raw_stream_flush_seconds=3600.0, committer="thread")
    reference = ReferenceData.load(settings.root)
    day = choose_day(reference, date.date() if date else None)
    days = sessions_until(reference, day, sessions)
    told = f"{day}" if len(days) == 1 else f"{len(days)} sessions ({days[0]} to {day})"
    started = time.monotonic()
    with session_progress(reference, days) as progress:
        result = play(settings, reference, days=days, seed=seed, interval_s=interval, progress=progress)
    if not result.updates:
        typer.echo(f"The simulation of {told} is in {settings.root} already; nothing is added.")
    else:
        rest = f" after {result.known:,} that were there" if result.known else ""
        typer.echo(
            f"{result.updates:,} chain updates{rest} with {result.legs:,} option rows of {told} captured,\n"
            f"committed and mirrored in {time.monotonic() - started:.1f} s. The prices are simulated."
        )
    _show(settings)


def _show(settings: Settings) -> None:
    from catalog.batches import batches
    from catalog.database import open_database
    from ingest.status import ledger
    from lake.commit_log import versions
    from lake.session import Session

    _heading(
        settings, "Ledger: offered = spooled + committed + quarantined + dropped (rows)", "ingest status"
    )
    show_rows(ledger(settings.lake), Format.TABLE)
    _heading(settings, "The last micro-batches", "catalog batches")
    show_rows(
        batches(open_database(settings.catalog), limit=5),
        Format.TABLE,
        columns=["batch_time", "table_name", "exchange", "record_count", "table_version"],
        zone=settings.timezone,
    )
    with Session(settings.lake) as session:
        _heading(settings, "NIFTY around the money, last chain", 'sql "SELECT * FROM latest_chain"')
        _rows(session, _LATEST)
        _heading(settings, "Put-call ratio", 'sql "SELECT * FROM pcr_5m"')
        _rows(session, _PCR)
        _heading(settings, "Max pain", 'sql "SELECT * FROM max_pain"')
        _rows(session, _MAX_PAIN)
    numbers = versions(settings.lake.path("option_chain"))
    middle = numbers[len(numbers) // 2]
    _heading(settings, f"The same table at version {middle}, and now", f'sql "{_COUNT}" --at {middle}')
    for version in (middle, numbers[-1]):
        with Session(settings.lake, at=version) as session:
            _rows(session, f"SELECT {version} AS version, * FROM ({_COUNT})")
    command_start = command_line(settings)
    typer.echo("\nGo on with:")
    for command in (
        "sql --list",
        "sql \"SELECT * FROM oi_change WHERE symbol = 'SENSEX'\" --limit 20",
        'sql "SELECT * FROM batch_quality"',
        "lake history option_chain",
        "ingest load --source nse-json RECORDINGS",
    ):
        typer.echo(f"  {command_start} {command}")


def _heading(settings: Settings, text: str, command: str) -> None:
    typer.echo(f"\n{text}\n  {command_line(settings)} {command}")


def _rows(session: Session, query: str) -> None:
    result = session.table(query)
    show_rows(
        result.to_pylist(), Format.TABLE, columns=result.column_names, zone=session.lake.timezone, limit=20
    )
