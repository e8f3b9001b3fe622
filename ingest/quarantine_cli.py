"""See what is in quarantine, and try it again once what kept it out was fixed."""

from __future__ import annotations

import json
import textwrap
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.options import CapturedAt
from lake.cli import command_line, settings_of
from lake.errors import SettingsError
from lake.output import Format, TextOrJson, printable, show_rows, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.rejects import Selection
    from ingest.retry import RetrySummary

_STILL_FAILS = 3
_WIDTH = 80
_SHOWN_CHARS = 4_000

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_Reason = Annotated[str | None, typer.Option(help="Only this reason.")]
_Source = Annotated[str | None, typer.Option(help="Only of this source.")]
_Date = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Only of this session.")
]
_Exchange = Annotated[str | None, typer.Option(help="Only NSE, or only BSE.")]


@app.callback()
def quarantine() -> None:
    """See what is in quarantine, and try it again once what kept it out was fixed."""


@app.command("list", epilog="Example: strikelake ingest quarantine list --reason bad_number")
def list_rejects(
    ctx: typer.Context,
    reason: _Reason = None,
    source: _Source = None,
    date: _Date = None,
    exchange: _Exchange = None,
    everything: Annotated[bool, typer.Option("--all", help="Count rows that came in since, too.")] = False,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
) -> None:
    """List what is in quarantine and has not come in since, by reason and source, each with an example."""
    from ingest.rejects import Rejects

    with Rejects(settings_of(ctx).lake) as rejects:
        rows = rejects.groups(_selection(reason, source, date, exchange), closed=everything)
    if output is not Format.TABLE:
        show_rows(rows, output, columns=_COLUMNS)
        return
    for row in rows:
        typer.echo("\n".join(_group(row)))
    total = sum(row["row_count"] for row in rows)
    if rows:
        typer.echo("1 row" if total == 1 else f"{total:,} rows")
    else:
        typer.echo("nothing is in quarantine" if everything else "nothing is open")


_COLUMNS = (
    "reason", "source", "meant_for", "row_count", "attempted", "came_in", "not_retriable", "first_date",
    "last_date", "example", "detail",
)  # fmt: skip


def _group(row: dict[str, Any]) -> list[str]:
    days = f"{row['first_date']}"
    if row["last_date"] != row["first_date"]:
        days += f" to {row['last_date']}"
    counted = f"{row['row_count']:,} x {row['reason']}  {row['source']}  for {row['meant_for']}  {days}"
    notes = [
        f"{row[name]:,} {what}"
        for name, what in (
            ("attempted", "tried again"),
            ("came_in", "came in"),
            ("not_retriable", "kept without what it takes to try them again"),
        )
        if row[name]
    ]
    lines = _wrapped(counted, "")
    if notes:
        lines += _wrapped(", ".join(notes), "  ")
    return [*lines, *_wrapped(f"{row['detail'] or ''}", "  "), f"  show {row['example']}"]


@app.command(epilog="Example: strikelake ingest quarantine show b1406eca82a578ff")
def show(
    ctx: typer.Context,
    reject_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it, as 'list' tells it.")],
    output: Annotated[TextOrJson, typer.Option(help="How to print it.")] = TextOrJson.TEXT,
) -> None:
    r"""Show one row of quarantine: why it is there, where it comes from, and the input as it came.

    Text is cut where it is long; --output json is whole. A byte that is no UTF-8 is shown as one of
    \udc80 to \udcff: in Python, encode("utf-8", "surrogateescape") gives the bytes back.
    """
    from catalog.quarantine_store import QuarantineStore
    from ingest.rejects import Rejects

    settings = settings_of(ctx)
    with Rejects(settings.lake) as rejects:
        row = rejects.one(reject_id)
    stored = row["stored"]
    if stored is not None and stored.endswith(".json.gz"):
        row["payload"], row["origin"] = QuarantineStore(settings.lake).read_record(stored)
    retriable = row["origin"] is not None and not row["closed"]
    command = f"{command_line(settings)} ingest quarantine retry --id {row['reject_id']}"
    if output is TextOrJson.JSON:
        whole = {**row, "payload": _parsed(row["payload"]), "origin": _parsed(row["origin"])}
        typer.echo(to_json({**whole, "retry": command if retriable else None}))
        return
    for name in _TOLD:
        if row[name] is not None:
            show_line(name, row[name])
    for name in ("origin", "payload"):
        if row[name] is not None:
            typer.echo(f"{name}:")
            typer.echo(_readable(_parsed(row[name])))
    if row["closed"]:
        typer.echo("it came in since")
    elif retriable:
        typer.echo(f"try it again: {command}")
    else:
        typer.echo("it is kept without what it takes to try it again")


_TOLD = (
    "reject_id", "reason", "detail", "source", "meant_for", "date", "exchange", "received_time", "batch_id",
    "stored", "attempts", "last_retried", "last_outcome", "last_reason", "last_detail",
)  # fmt: skip


def show_line(name: str, value: Any) -> None:
    """Print one named value, wrapped."""
    typer.echo("\n".join(_wrapped(f"{name}: {value}", "")))


@app.command(epilog="Example: strikelake ingest quarantine retry --reason unknown_lot_size --dry-run")
def retry(
    ctx: typer.Context,
    reason: _Reason = None,
    source: _Source = None,
    date: _Date = None,
    exchange: _Exchange = None,
    reject_id: Annotated[str | None, typer.Option("--id", help="Only this row.")] = None,
    captured_at: CapturedAt = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in.")] = False,
    output: Annotated[TextOrJson, typer.Option(help="How to print the summary.")] = TextOrJson.TEXT,
) -> None:
    """Try rows of quarantine again; what comes in, comes in exactly once. Exit code 3 if some still fail.

    For after a fix: a lot size or a session was added, or a newer version reads the format.
    """
    from ingest.rejects import Rejects
    from ingest.retry import retry as run
    from ingest.sources import adapters
    from ingest.sources.values import INDIA

    settings = settings_of(ctx)
    known = adapters(captured_at=captured_at.replace(tzinfo=INDIA) if captured_at else None)
    if reject_id is not None:
        with Rejects(settings.lake) as rejects:
            reject_id = rejects.one(reject_id)["reject_id"]
    selection = _selection(reason, source, date, exchange, reject_id)
    with ExitStack() as stack:
        try:
            summary = run(settings, selection, adapters=known, dry_run=dry_run, started=_progress(stack))
        except KeyboardInterrupt:
            typer.echo("\nwhat came in is kept; retry again to go on", err=True)
            raise
    _tell(summary, output, dry_run=dry_run)
    if not summary.mirrored:
        typer.echo("the catalog is behind: run 'strikelake catalog sync'", err=True)
    if dry_run:
        typer.echo("nothing was changed", err=True)
    if summary.failed:
        raise typer.Exit(_STILL_FAILS)


def _tell(summary: RetrySummary, output: TextOrJson, *, dry_run: bool) -> None:
    if output is TextOrJson.JSON:
        names = ("tried", "accepted", "rows", "loaded", "failed", "quarantined", "not_retriable", "mirrored")
        told = {name: getattr(summary, name) for name in names}
        told["examples"] = {
            reason: {"reject_id": reject_id, "detail": detail}
            for reason, (reject_id, detail) in summary.examples.items()
        }
        typer.echo(to_json({**told, "dry_run": dry_run}))
        return
    rows = ", ".join(f"{count:,} of {table}" for table, count in sorted(summary.rows.items()))
    verb = "would come in" if dry_run else "came in"
    typer.echo(f"{summary.tried:,} tried: {summary.accepted:,} {verb}{f' as rows: {rows}' if rows else ''}")
    if summary.loaded:
        typer.echo(f"{summary.loaded:,} were in already, by a load")
    for reason, count in sorted(summary.failed.items(), key=lambda item: -item[1]):
        reject_id, detail = summary.examples[reason]
        typer.echo(f"{count:,} still fail: {printable(reason)}")
        typer.echo("\n".join([*_wrapped(detail, "  "), f"  show {reject_id}"]))
    for reason, count in sorted(summary.quarantined.items()):
        typer.echo(f"{count:,} rows of files that can be read now are in quarantine: {reason}")
    if summary.not_retriable:
        why = "are kept without what it takes to try them again"
        typer.echo("\n".join(_wrapped(f"{summary.not_retriable:,} {why}", "")))


def _progress(stack: ExitStack) -> Callable[[int], Callable[[int], None]]:
    def started(rows: int) -> Callable[[int], None]:
        from lake.progress import progress_bar

        bar: AbstractContextManager[Callable[[int], None]] = progress_bar("rows", total=rows)
        return stack.enter_context(bar)

    return started


def _selection(
    reason: str | None,
    source: str | None,
    date: datetime | None,
    exchange: str | None,
    reject_id: str | None = None,
) -> Selection:
    from catalog.exchanges import canonical_exchange
    from ingest.rejects import Selection

    if exchange is not None and (found := canonical_exchange(exchange)) is None:
        raise SettingsError(f"--exchange {exchange!r} is not known; there are NSE and BSE")
    canonical = None if exchange is None else found
    return Selection(reason, source, date.date() if date else None, canonical, reject_id)


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _readable(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    except RecursionError:
        text = str(value)
    lines = [
        piece for line in text[:_SHOWN_CHARS].split("\n") for piece in _folded(printable(line), _WIDTH - 2)
    ]
    if len(text) > _SHOWN_CHARS:
        lines.append(f"... {len(text) - _SHOWN_CHARS:,} characters more: see --output json")
    return textwrap.indent("\n".join(lines), "  ")


def _folded(line: str, width: int) -> list[str]:
    """A line in pieces that fit, each blank of it kept; what follows is indented more than its beginning."""
    if len(line) <= width:
        return [line]
    indent = " " * min(len(line) - len(line.lstrip()) + 4, width // 2)
    step = width - len(indent)
    rest = range(width, len(line), step)
    return [line[:width], *(f"{indent}{line[start : start + step]}" for start in rest)]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        printable(text), _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ",
        break_long_words=True, break_on_hyphens=False,
    ) or [indent]  # fmt: skip
