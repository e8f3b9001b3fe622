"""Datasets: rows chosen once, replayed bit for bit for ever."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import command_line, settings_of
from lake.errors import CatalogUnavailableError, DamagedTableError, QueryError
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from catalog.dataset_manifest import Dataset
    from lake.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_DATE = ["%Y-%m-%d"]
_BREACH = 3
_BATCHES_SHOWN = 20
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
    """List the datasets of the lake; exit code 3 if one cannot be read."""
    from catalog.dataset_manifest import names, read

    settings = settings_of(ctx)
    rows, damaged = [], []
    for name in names(settings.lake):
        try:
            one = read(settings.lake, name)
        except DamagedTableError as error:
            damaged.append(str(error))
            continue
        rows.append(
            {
                "name": one.name, "from": one.first, "to": one.last,
                "tables": ", ".join(table.name for table in one.tables) + (" (query)" if one.query else ""),
                "row_count": one.row_count, "created_at": one.created_at,
                "content_digest": one.content_digest, "versions": one.versions,
            }
        )  # fmt: skip
    columns = ["name", "from", "to", "tables", "row_count"]
    if output is not Format.TABLE:
        columns += ["created_at", "content_digest", "versions"]
    show_rows(rows, output, columns=columns, zone=settings.timezone)
    for why in damaged:
        typer.echo(f"strikelake: {why}", err=True)
    if damaged:
        raise typer.Exit(_BREACH)


@app.command(epilog="Example: strikelake dataset show week30 --output json")
def show(ctx: typer.Context, name: _NAME, output: _OUTPUT = TextOrJson.TEXT) -> None:
    """Show what a dataset is: versions, digests, query, models; in JSON, every batch as well."""
    from catalog.dataset_manifest import read

    settings = settings_of(ctx)
    chosen = read(settings.lake, name)
    _show(chosen, output, settings, batches=True, models=_models_of(chosen, settings))


@app.command(epilog="Example: strikelake dataset replay week30 --to week30.parquet")
def replay(
    ctx: typer.Context,
    name: _NAME,
    to: Annotated[
        Path,
        typer.Option(
            help="File (.parquet, .arrow, .feather), replaced if there; of many tables, a new folder."
        ),
    ],
    table: Annotated[str | None, typer.Option(help="Only this table, if it has several.")] = None,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Write the dataset's rows, the same in the same order as ever; whole and proven, or nothing."""
    from catalog.datasets import read, replay_to_file, replay_to_folder
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    chosen = read(settings.lake, name)
    parts = [part for part in chosen.tables if table in {None, part.name}]
    told = _head(chosen)
    with progress_bar("rows", total=sum(part.row_count for part in parts)) as advance:
        if table is None and chosen.query is None and len(parts) > 1:
            counts = replay_to_folder(settings.lake, chosen, to, progress=advance)
            files = {part: str(to / f"{part}.parquet") for part in counts}
            rows = sum(counts.values())
        else:
            rows = replay_to_file(settings.lake, chosen, to, table=table, progress=advance)
            files = {"result" if chosen.query is not None else parts[0].name: str(to)}
            if table is not None:
                told |= {"row_count": parts[0].row_count, "content_digest": parts[0].content_digest}
    if output is TextOrJson.JSON:
        typer.echo(to_json({**told, "rows_written": rows, "files": files}))
    else:
        typer.echo(f"{rows:,} rows in {to}, content digest {told['content_digest']} as recorded")


@app.command(epilog="Example: strikelake dataset verify week30")
def verify(ctx: typer.Context, name: _NAME, output: _OUTPUT = TextOrJson.TEXT) -> None:
    """Prove that a dataset is as it was, or say which batch differs; exit code 3 if one does."""
    from catalog.dataset_replay import Verification
    from catalog.datasets import read
    from catalog.datasets import verify as check
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    head: dict[str, Any] = {"name": name, "row_count": None, "content_digest": None, "versions": {}}
    try:
        chosen = read(settings.lake, name)
        head = _head(chosen)
        with progress_bar("rows", total=sum(t.row_count for t in chosen.tables)) as advance:
            found = check(settings.lake, chosen, progress=advance)
    except DamagedTableError as error:
        found = Verification(name, 0, None, (), (str(error),))
    differences = [asdict(difference) for difference in found.differences]
    if output is TextOrJson.JSON:
        told = {"intact": found.intact, "differences": differences, "problems": list(found.problems)}
        typer.echo(to_json({**head, **told}))
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
        return query.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{query}: {error}") from error


def _models_of(one: Dataset, settings: Settings) -> list[dict[str, Any]] | None:
    """What was trained on a dataset; None, with a word on stderr, if the catalog does not answer."""
    from catalog.database import opened_database
    from catalog.model_runs import models_of

    try:
        with opened_database(settings.catalog) as engine:
            return models_of(engine, one.name, one.content_digest)
    except CatalogUnavailableError as error:
        typer.echo(f"strikelake: its models are not shown: {error}", err=True)
        return None


def _head(one: Dataset) -> dict[str, Any]:
    return {
        "name": one.name, "row_count": one.row_count, "content_digest": one.content_digest,
        "versions": one.versions,
    }  # fmt: skip


def _show(
    one: Dataset,
    output: TextOrJson,
    settings: Settings,
    *,
    batches: bool = False,
    models: list[dict[str, Any]] | None = None,
) -> None:
    if output is TextOrJson.JSON:
        told = one.summary()
        if batches:
            told |= {"models": models, "batches": one.batches().to_pylist()}
        typer.echo(to_json(told, zone=settings.timezone))
        return
    exchanges = f" of {', '.join(one.exchanges)}" if one.exchanges else ""
    typer.echo(f"dataset {one.name}: {one.row_count:,} rows")
    typer.echo(f"  content digest {one.content_digest}")
    typer.echo(f"  sessions{exchanges} from {one.first} to {one.last}")
    for table in one.tables:
        typer.echo(f"  {table.name} at version {table.version}: {table.row_count:,} rows")
    if one.query is not None:
        typer.echo("  the result of:")
        typer.echo("".join(f"    {line}\n" for line in one.query.strip().splitlines()), nl=False)
    several = one.query is None and len(one.tables) > 1
    target = f"{one.name}-rows" if several else f"{one.name}.parquet"
    typer.echo(f"  replay: {command_line(settings)} dataset replay {one.name} --to {target}")
    for model in models or ():
        typer.echo(f"  model {model['exchange']} {model['model_version']}: {model['path']}")
    if batches:
        rows = one.batches()
        wanted = ["date", "exchange", "table_name", "batch_id", "rows"]
        typer.echo(f"  {rows.num_rows:,} batches:" if rows.num_rows != 1 else "  one batch:")
        show_rows(rows.slice(0, _BATCHES_SHOWN).select(wanted).to_pylist(), Format.TABLE)
        if rows.num_rows > _BATCHES_SHOWN:
            typer.echo(f"... and {rows.num_rows - _BATCHES_SHOWN:,} more: see --output json")
