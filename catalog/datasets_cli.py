"""Datasets: rows chosen once, replayed bit for bit for ever."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import command_line, settings_of
from lake.errors import QueryError
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from catalog.dataset_manifest import Dataset
    from lake.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_DATE = ["%Y-%m-%d"]
_BREACH = 3
_NAME = Annotated[str, typer.Argument(help="Name of the dataset.")]
_OUTPUT = Annotated[TextOrJson, typer.Option(help="How to print the result.")]

_EXAMPLES = """
\b
Examples:
  strikelake dataset create week30 --table option_chain --from 2026-07-20 --to 2026-07-24
  strikelake dataset create pcr --table option_chain --from 2026-07-20 --to 2026-07-24 \\
      --exchange NSE --query pcr.sql
"""


@app.callback()
def dataset() -> None:
    """Datasets: rows chosen once, replayed bit for bit for ever."""


@app.command(epilog=_EXAMPLES)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name: letters, digits, '-' and '_'.")],
    tables: Annotated[list[str], typer.Option("--table", help="Table of its rows; may be repeated.")],
    first: Annotated[datetime, typer.Option("--from", formats=_DATE, help="Earliest session date.")],
    last: Annotated[datetime, typer.Option("--to", formats=_DATE, help="Latest session date.")],
    exchanges: Annotated[
        list[str] | None, typer.Option("--exchange", help="Only this exchange; may be repeated.")
    ] = None,
    query: Annotated[
        Path | None, typer.Option(help="File with a SELECT over these tables and their views.")
    ] = None,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Make a dataset of what the tables hold now; every row is checked on the way."""
    from catalog import datasets
    from catalog.database import opened_database
    from catalog.exchanges import canonical_exchange
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    chosen = []
    for exchange in exchanges or ():
        known = canonical_exchange(exchange)
        if known is None:
            raise typer.BadParameter(f"{exchange!r} is no exchange", param_hint="--exchange")
        chosen.append(known)
    with opened_database(settings.catalog) as engine, progress_bar("rows", total=None) as advance:
        made = datasets.create(
            settings.lake, engine, name, tables=tables,
            first=first.date(), last=last.date(), exchanges=chosen, query=_text(query), progress=advance,
        )  # fmt: skip
    _show(made, output, settings)


@app.command("list", epilog="Example: strikelake dataset list")
def list_(
    ctx: typer.Context, output: Annotated[Format, typer.Option(help="How to print.")] = Format.TABLE
) -> None:
    """List the datasets of the lake."""
    from catalog.dataset_manifest import read_all

    settings = settings_of(ctx)
    rows = [
        {
            "name": one.name, "from": one.first, "to": one.last,
            "tables": ", ".join(table.name for table in one.tables) + (" (query)" if one.query else ""),
            "created_at": one.created_at, "row_count": one.row_count, "content_digest": one.content_digest,
        }
        for one in read_all(settings.lake)
    ]  # fmt: skip
    columns = ["name", "from", "to", "tables", "created_at", "row_count", "content_digest"]
    show_rows(rows, output, columns=columns, zone=settings.timezone)


@app.command(epilog="Example: strikelake dataset show week30 --output json")
def show(ctx: typer.Context, name: _NAME, output: _OUTPUT = TextOrJson.TEXT) -> None:
    """Show what a dataset is: versions, digests, query; in JSON, every batch as well."""
    from catalog.dataset_manifest import read

    settings = settings_of(ctx)
    _show(read(settings.lake, name), output, settings, batches=True)


@app.command(epilog="Example: strikelake dataset replay week30 --to week30.parquet")
def replay(
    ctx: typer.Context,
    name: _NAME,
    to: Annotated[Path, typer.Option(help="File: .parquet, .arrow or .feather.")],
    table: Annotated[str | None, typer.Option(help="Which table, if it has several.")] = None,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Write the dataset's rows, the same in the same order as ever; checked against its digest."""
    from catalog.datasets import read, replay_to_file
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    chosen = read(settings.lake, name)
    with progress_bar("rows", total=chosen.row_count) as advance:
        rows = replay_to_file(settings.lake, chosen, to, table=table, progress=advance)
    if output is TextOrJson.JSON:
        typer.echo(to_json({**_head(chosen), "file": str(to), "rows_written": rows}))
    else:
        typer.echo(f"{rows:,} rows in {to}, content digest as recorded")


@app.command(epilog="Example: strikelake dataset verify week30")
def verify(ctx: typer.Context, name: _NAME, output: _OUTPUT = TextOrJson.TEXT) -> None:
    """Prove that a dataset is as it was, or say which batch differs; exit code 3 if one does."""
    from catalog.datasets import read
    from catalog.datasets import verify as check
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    chosen = read(settings.lake, name)
    with progress_bar("rows", total=sum(t.row_count for t in chosen.tables)) as advance:
        found = check(settings.lake, chosen, progress=advance)
    names = ("table", "date", "exchange", "batch_id", "kind", "detail")
    differences = [{n: getattr(d, n) for n in names} for d in found.differences]
    if output is TextOrJson.JSON:
        typer.echo(
            to_json(
                {**_head(chosen), "intact": found.intact, "differences": differences,
                 "problems": list(found.problems)}
            )
        )  # fmt: skip
    elif found.intact:
        typer.echo(f"{name} is intact: {found.row_count:,} rows, content digest {found.content_digest}")
    else:
        typer.echo(f"{name} is NOT as it was")
        for d in found.differences:
            typer.echo(f"  batch {d.batch_id} of {d.table}, {d.date} {d.exchange}: {d.detail}")
        for problem in found.problems:
            typer.echo(f"  {problem}")
    if not found.intact:
        raise typer.Exit(_BREACH)


@app.command(epilog="Example: strikelake dataset delete week30")
def delete(ctx: typer.Context, name: _NAME) -> None:
    """Forget a dataset; the rows stay in the tables."""
    from catalog import datasets
    from catalog.database import opened_database

    settings = settings_of(ctx)
    with opened_database(settings.catalog) as engine:
        datasets.remove(settings.lake, engine, name)
    typer.echo(f"dataset {name} deleted; its rows are still in the tables")


def _text(query: Path | None) -> str | None:
    if query is None:
        return None
    try:
        return query.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{query}: {error}") from error


def _head(one: Dataset) -> dict[str, Any]:
    return {
        "name": one.name, "row_count": one.row_count, "content_digest": one.content_digest,
        "versions": one.versions,
    }  # fmt: skip


def _show(one: Dataset, output: TextOrJson, settings: Settings, *, batches: bool = False) -> None:
    if output is TextOrJson.JSON:
        told = one.summary()
        if batches:
            told["batches"] = one.batches().to_pylist()
        typer.echo(to_json(told, zone=settings.timezone))
        return
    exchanges = f" of {', '.join(one.exchanges)}" if one.exchanges else ""
    typer.echo(f"dataset {one.name}: {one.row_count:,} rows, content digest {one.content_digest}")
    typer.echo(f"  sessions{exchanges} from {one.first} to {one.last}")
    for table in one.tables:
        typer.echo(f"  {table.name} at version {table.version}: {table.row_count:,} rows")
    if one.query is not None:
        typer.echo("  the result of:")
        typer.echo("".join(f"    {line}\n" for line in one.query.strip().splitlines()), nl=False)
    typer.echo(f"  replay: {command_line(settings)} dataset replay {one.name} --to {one.name}.parquet")
    if batches:
        rows = one.batches().select(["table_name", "date", "exchange", "batch_id", "rows"]).to_pylist()
        show_rows(rows, Format.TABLE, limit=20)
