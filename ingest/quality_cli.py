"""`strikelake ingest quality`: how good a day's feeds were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from lake.cli import command_line, settings_of
from lake.errors import TableNotFoundError
from lake.output import TextOrJson, to_json

if TYPE_CHECKING:
    from ingest.quality_report import DayReport, FeedReport, Stretch

EPILOG = "Example: strikelake ingest quality --date 2026-01-30 --exchange NSE --symbol NIFTY"
_GAPS_SHOWN = 5


class Exchange(StrEnum):
    """Where a feed is from."""

    NSE = "NSE"
    BSE = "BSE"


def quality(
    ctx: typer.Context,
    date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Session date.")],
    exchange: Annotated[Exchange | None, typer.Option(help="Only this exchange  [default: all]")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this underlying, e.g. NIFTY.")] = None,
    output: Annotated[TextOrJson, typer.Option(help="How to print the report.")] = TextOrJson.TEXT,
) -> None:
    """Tell how good the feeds of a day were: coverage, gaps, and what each detector found.

    'in session' counts minutes within trading hours. A chain is one expiry at one event time.
    """
    from catalog.exchanges import canonical_symbol
    from catalog.reference import ReferenceData
    from ingest.quality_report import EVERY_SYMBOL, day_report
    from lake.session import Session

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    wanted = canonical_symbol(symbol) if symbol else EVERY_SYMBOL
    calendar = ReferenceData.load(settings.root).calendar
    with Session(settings.lake, live=True) as session:
        reports = [
            day_report(session, calendar, each.value, date.date(), symbol=wanted)
            for each in ([exchange] if exchange else list(Exchange))
        ]
    if output is TextOrJson.JSON:
        typer.echo(to_json([_plain(report) for report in reports], zone=settings.timezone))
        return
    zone = ZoneInfo(settings.timezone)
    for report in reports:
        for line in report_lines(report, zone, symbol, command_line(settings)):
            typer.echo(line)


def report_lines(report: DayReport, zone: ZoneInfo, symbol: str | None, command: str) -> Iterator[str]:
    """A report for a reader, at most 80 columns wide."""
    trading = report.session
    hours = (
        "no session"
        if trading is None
        else f"session {_clock(trading.open, zone)} to {_clock(trading.close, zone)}"
    )
    yield f"{report.exchange} {report.date}: {hours}"
    if not report.feeds:
        what = f"{symbol}" if symbol else "any symbol"
        yield f"  no data: not one chain of {what} was captured"
        return
    for feed in report.feeds:
        yield from _feed_lines(feed, zone)
    where = f"date = '{report.date}' AND exchange = '{report.exchange}'"
    yield "  the rows:"
    yield f"    {command} sql \\"
    yield f'     "SELECT * FROM flagged_legs WHERE {where}"'


def _feed_lines(feed: FeedReport, zone: ZoneInfo) -> Iterator[str]:
    yield f"  {feed.symbol} from {feed.source}"
    share = "no session" if feed.covered is None else f"covered {_percent(feed.covered)} of the session"
    every = "" if feed.cadence_s is None else f", every {_seconds(feed.cadence_s)}"
    yield f"    {share}: {feed.polls_in_session:,} polls{every}; {feed.polls:,} that day"
    if feed.rows:
        yield f"    {feed.rows:,} rows, {_percent(feed.clean_rows / feed.rows)} without a flag"
    longest = sorted(feed.gaps, key=lambda gap: -gap.seconds)[:_GAPS_SHOWN]
    for gap in sorted(longest, key=lambda gap: gap.start):
        yield f"    gap {_span(gap, zone)}, {gap.seconds / 60:.1f} min"
    if len(feed.gaps) > len(longest):
        yield f"    and {len(feed.gaps) - len(longest)} shorter gaps"
    if not feed.found:
        yield "    no detector found anything"
        return
    yield f"    {'detector':<16}{'rows':>9}{'chains':>8}{'minutes':>9}{'in session':>12}  longest stretch"
    for found in feed.found:
        yield (
            f"    {found.detector:<16}{found.rows:>9,}{found.chains:>8,}{found.minutes:>9,}"
            f"{found.minutes_in_session:>12,}  {_span(found.worst, zone)}"
        )


def _percent(share: float) -> str:
    """A share that reads 100 % only if it is whole."""
    text = f"{100 * share:.1f}"
    return "99.9 %" if text == "100.0" and share < 1 else f"{text} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _span(stretch: Stretch, zone: ZoneInfo) -> str:
    start, end = _clock(stretch.start, zone), _clock(stretch.end, zone)
    return start if start == end else f"{start} to {end}"


def _clock(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%H:%M}"


def _plain(report: DayReport) -> dict[str, Any]:
    trading = report.session
    return {
        "exchange": report.exchange,
        "date": report.date,
        "session": None if trading is None else {"open": trading.open, "close": trading.close},
        "until": report.until,
        "feeds": [_plain_feed(feed) for feed in report.feeds],
    }


def _plain_feed(feed: FeedReport) -> dict[str, Any]:
    plain = asdict(feed)
    for stretch, of in zip(plain["gaps"], feed.gaps, strict=True):
        stretch["seconds"] = of.seconds
        del stretch["chains"]
    for found, of_found in zip(plain["found"], feed.found, strict=True):
        found["worst"]["seconds"] = of_found.worst.seconds
    return plain
