"""Bring data in: load recordings, commit a spool, see what became of every row."""

from __future__ import annotations

import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest import quarantine_cli
from ingest.options import CapturedAt
from ingest.quality_cli import EPILOG as QUALITY_EPILOG
from ingest.quality_cli import quality
from ingest.run_cli import EPILOG as RUN_EPILOG
from ingest.run_cli import LIVE_SOURCES, SIMULATOR, run
from lake.cli import command_line, settings_of
from lake.errors import MalformedInputError, SettingsError, StrikelakeError, TableNotFoundError
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from ingest.load import LoadSummary
    from lake.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


app.add_typer(quarantine_cli.app, name="quarantine")


@app.callback()
def ingest() -> None:
    """Bring data in: load recordings, commit a spool, see what became of every row."""


@app.command(epilog="Example: strikelake ingest load recordings/2025-07-16")
def load(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to search.")],
    source: Annotated[
        str | None,
        typer.Option(help="Wire format, see 'strikelake ingest sources'  [default: as the content says]"),
    ] = None,
    captured_at: CapturedAt = None,
    output: Annotated[TextOrJson, typer.Option(help="How to print the summary.")] = TextOrJson.TEXT,
) -> None:
    """Load recorded files; loading the same files twice adds nothing, loading one that grew adds the rest.

    Each file's format is recognised from its content, unless --source names it. Malformed input never
    stops a load: each bad row or file is in quarantine with its reason.
    """
    from ingest.load import load as run
    from ingest.sources import ANY_FORMAT, AnyFormat, adapter, adapters, recording_files
    from ingest.sources.values import INDIA
    from lake.progress import progress_bar

    if source == SIMULATOR:
        raise SettingsError("the simulator has no files: use 'strikelake ingest run --source simulator'")
    known = adapters(captured_at=captured_at.replace(tzinfo=INDIA) if captured_at else None)
    chosen = AnyFormat(known.values()) if source is None else adapter(source, known)
    settings = settings_of(ctx)
    files = [file for path in paths for file in recording_files(chosen, path)]
    if not files:
        raise MalformedInputError(
            f"no {'/'.join(chosen.suffixes)} file in {', '.join(str(path) for path in paths)}"
        )
    try:
        with progress_bar("files", total=len(files)) as advance:
            summary = run(settings, chosen, files, progress=lambda _: advance(1))
    except KeyboardInterrupt:
        typer.echo("\nwhat was read is kept; load the same files again to go on", err=True)
        raise
    if output is TextOrJson.JSON:
        typer.echo(
            to_json(
                {
                    "sources": summary.sources, "files": summary.files, "chains": summary.chains,
                    "rows": summary.rows, "candles": summary.candles, "known": summary.known,
                    "quarantined": summary.quarantined,
                    "unreadable": summary.unreadable, "mirrored": summary.mirrored,
                }
            )
        )  # fmt: skip
    else:
        _tell(summary, settings, recognised=source is None)
    if not summary.mirrored:
        typer.echo("the catalog is behind: run 'strikelake catalog sync'", err=True)
    if summary.sources.keys() == {ANY_FORMAT}:
        raise MalformedInputError(
            f"{_counted(summary.files, 'file')} and none in a known format; 'strikelake ingest sources'"
            " lists them, --source names one"
        )
    if summary.unreadable:
        problems = [f"{file}: {why}" for file, why in summary.unreadable.items()]
        if (more := len(problems) - _NAMED_FILES) > 0:
            problems[_NAMED_FILES:] = [f"and {more:,} more, see --output json"]
        count = _counted(len(summary.unreadable), "file")
        raise StrikelakeError(f"{count} could not be opened: {'; '.join(problems)}")


_NAMED_FILES = 10
_WIDTH = 80


def _tell(summary: LoadSummary, settings: Settings, *, recognised: bool) -> None:
    """Print what a load did, for a person."""
    candles = f" ({summary.candles:,} of candles)" if summary.candles else ""
    lines = [
        f"{_counted(summary.files, 'file')}: {_counted(summary.chains, 'chain')},"
        f" {_counted(summary.rows, 'row')}{candles} committed;"
        f" {summary.known:,} {'updates' if candles else 'chains'} or rejects were loaded before"
    ]
    if recognised:
        lines.append(f"recognised: {_formats(summary.sources)}")
    if summary.quarantined:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(summary.quarantined.items()))
        lines.append(f"{_counted(sum(summary.quarantined.values()), 'row')} in quarantine: {reasons}")
    for line in lines:
        typer.echo(
            textwrap.fill(
                line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        )
    if summary.quarantined:
        typer.echo(f"  see: {command_line(settings)} ingest quarantine list")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _formats(sources: dict[str, int]) -> str:
    """Which formats files were found to be in, e.g. `nse-json 3 files, no known format 1 file`."""
    from ingest.sources import ANY_FORMAT

    return ", ".join(
        f"{'no known format' if name == ANY_FORMAT else name} {_counted(files, 'file')}"
        for name, files in sorted(sources.items())
    )


app.command(epilog=RUN_EPILOG)(run)


@app.command(epilog="Example: strikelake ingest sources")
def sources(output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE) -> None:
    """List the sources: wire formats for 'ingest load', live ones for 'ingest run'."""
    from ingest.sources import ADAPTERS

    rows = [
        {"source": name, "use": "load", "files": " ".join(one.suffixes), "about": one.about}
        for name, one in ADAPTERS.items()
    ]
    rows += [
        {"source": name, "use": "run", "files": "", "about": about} for name, about in LIVE_SOURCES.items()
    ]
    show_rows(rows, output, fold=("files", "about"))


@app.command(epilog="Example: strikelake ingest status --output json")
def status(
    ctx: typer.Context,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
    by_app: Annotated[bool, typer.Option("--by-app", help="One row an app id as well.")] = False,
) -> None:
    """Show the ledger: offered = spooled + committed + quarantined + dropped, in rows."""
    from ingest.status import app_lines, ledger

    settings = settings_of(ctx)
    if not settings.lake.exists() and not settings.lake.spools.is_dir():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    rows = ledger(settings.lake, by_app=by_app)
    columns = ["table", "exchange", "offered", "spooled", "committed", "quarantined", "dropped"]
    show_rows(rows, output, columns=["app_id", *columns] if by_app else columns)
    if output is Format.TABLE:
        for line in app_lines(settings.lake, datetime.now(UTC)):
            typer.echo(line, err=True)


app.command(epilog=QUALITY_EPILOG)(quality)


@app.command(epilog="Example: strikelake ingest commit --app-id live")
def commit(
    ctx: typer.Context,
    app_id: Annotated[str | None, typer.Option(help="Whose spool to commit  [default: live]")] = None,
    once: Annotated[bool, typer.Option("--once", help="Commit what is spooled now, then end.")] = False,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between micro-batches  [default: 60]")
    ] = None,
) -> None:
    """Commit a live app's spool from a process of its own, until Ctrl-C.

    The app runs with committer = "process" (STRIKELAKE_COMMITTER=process).
    """
    from catalog.reference import ReferenceData
    from ingest.after_close import AfterClose
    from ingest.committer import Committer

    settings = settings_of(ctx, app_id=app_id, raw_stream_flush_seconds=every)
    after_close = AfterClose(settings.lake, ReferenceData.load(settings.root).calendar)
    committer = Committer(settings)
    try:
        if not once:
            seconds = f"{settings.raw_stream_flush_seconds:g} s"
            typer.echo(f"committing the spool of {settings.app_id} every {seconds}; Ctrl-C ends it", err=True)
        while True:
            due = time.monotonic() + settings.raw_stream_flush_seconds
            try:
                result = committer.flush()
            except (StrikelakeError, OSError) as error:
                if once and isinstance(error, StrikelakeError):
                    raise
                if once:
                    raise StrikelakeError(
                        f"a commit failed: {error}; the rows are kept in the spool"
                    ) from error
                typer.echo(f"strikelake: {error}; trying again", err=True)
            else:
                for table, rows in result.rows.items():
                    typer.echo(f"{table}: {rows:,} rows, version {result.versions[table][-1]}")
            if once:
                return
            if after_close.run_if_due():
                committer.mirror()
            time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        typer.echo("stopped; what is spooled is committed by the next run", err=True)
    finally:
        committer.close()
