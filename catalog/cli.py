"""The catalog: micro-batches, and keeping their mirror in step."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from lake.cli import settings_of
from lake.errors import TableNotFoundError
from lake.output import Format, show_rows

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_OUTPUT = Annotated[Format, typer.Option(help="How to print the rows.")]


@app.callback()
def catalog() -> None:
    """The catalog: micro-batches, and keeping their mirror in step."""


@app.command(epilog="Example: strikelake catalog sync")
def sync(ctx: typer.Context) -> None:
    """Follow the Delta logs into ml_feature_batches; running it again adds nothing."""
    _follow(ctx, from_scratch=False)


@app.command(epilog="Example: strikelake catalog rebuild")
def rebuild(ctx: typer.Context) -> None:
    """Make ml_feature_batches again from the Delta logs."""
    _follow(ctx, from_scratch=True)


@app.command(epilog="Example: strikelake catalog batches --table option_chain --exchange NSE --limit 5")
def batches(
    ctx: typer.Context,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only this exchange.")] = None,
    date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only this session date.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch id.")] = None,
    output: _OUTPUT = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Newest batches to show.")] = 20,
) -> None:
    """List the newest micro-batches of ml_feature_batches."""
    from catalog import batches as mirror
    from catalog.database import open_database

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    engine = open_database(settings.catalog)
    try:
        rows = mirror.batches(
            engine,
            table=table,
            exchange=exchange,
            day=date.date() if date else None,
            batch_id=batch,
            limit=limit,
        )
    finally:
        engine.dispose()
    columns = ["batch_time", "table_name", "exchange", "date", "record_count", "table_version", "batch_id"]
    every = [*columns, *(name for name in mirror.COLUMNS if name not in columns)]
    chosen = columns if output is Format.TABLE else every
    show_rows(rows, output, columns=chosen, zone=settings.timezone)


@app.command(epilog="Example: strikelake catalog columns option_chain")
def columns(
    table: Annotated[str, typer.Argument(help="option_chain, ml_features or quarantine.")],
    output: _OUTPUT = Format.TABLE,
) -> None:
    """Show the contract of a table: type, unit and meaning of every column."""
    from catalog.contracts import CONTRACTS
    from lake.snapshot import duckdb_type

    if table not in CONTRACTS:
        raise TableNotFoundError(f"no contract for {table!r}; there are: {', '.join(CONTRACTS)}")
    names = ["column", "about", "unit", "type"] + ([] if output is Format.TABLE else ["required"])
    rows = [
        {
            "column": c.name,
            "about": c.about,
            "unit": c.unit,
            "type": duckdb_type(c.type),
            "required": c.required,
        }
        for c in CONTRACTS[table].columns
    ]
    show_rows(rows, output, columns=names)


def _follow(ctx: typer.Context, *, from_scratch: bool) -> None:
    from catalog import batches as mirror
    from catalog.database import open_database
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    engine = open_database(settings.catalog)
    try:
        commits = mirror.pending_commits(settings.lake, engine, from_scratch=from_scratch)
        with progress_bar("commits", total=commits) as advance:
            if from_scratch:
                result = mirror.rebuild(settings.lake, engine, progress=advance)
            else:
                result = mirror.sync(settings.lake, engine, progress=advance)
    finally:
        engine.dispose()
    typer.echo(f"{result.commits:,} commits followed, {result.batches:,} batches added")
