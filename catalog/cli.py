"""The catalog: micro-batches, and keeping their mirror in step."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lake.cli import settings_of
from lake.errors import SettingsError, TableNotFoundError
from lake.output import Format, show_rows

if TYPE_CHECKING:
    from lake.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_BREACH = 3
_OUTPUT = Annotated[Format, typer.Option(help="How to print the rows.")]


@app.callback()
def catalog() -> None:
    """The catalog: micro-batches, and keeping their mirror in step."""


@app.command(epilog="Example: strikelake catalog sync")
def sync(ctx: typer.Context) -> None:
    """Follow the Delta logs into ml_feature_batches; datasets and models, too. Again, it adds nothing."""
    _follow(ctx, from_scratch=False)


@app.command(epilog="Example: strikelake catalog rebuild")
def rebuild(ctx: typer.Context) -> None:
    """Make ml_feature_batches again from the Delta logs; datasets and models from their folders."""
    _follow(ctx, from_scratch=True)


@app.command(epilog="Example: strikelake catalog calendar --exchange NSE --month 2026-02")
def calendar(
    ctx: typer.Context,
    exchange: Annotated[str, typer.Option(help="NSE or BSE.")] = "NSE",
    month: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m"], metavar="YYYY-MM", help="Which month  [default: this one]"),
    ] = None,
    output: _OUTPUT = Format.TABLE,
) -> None:
    """Show a month: sessions, holidays, hours, expiries. Times are the exchange's.

    Lines in calendar.csv and expiry_days.csv in the lake's folder count at once.
    """
    from catalog.exchanges import canonical_exchange
    from catalog.month import fitted_rows, month_rows
    from catalog.reference import ReferenceData

    code = canonical_exchange(exchange)
    if code is None:
        raise SettingsError(f"no exchange {exchange!r}; known: NSE, BSE")
    reference = ReferenceData.load(settings_of(ctx).root)
    today = datetime.now(reference.calendar.timezone(code))
    rows = month_rows(reference, code, (month or today).date())
    show_rows(fitted_rows(rows) if output is Format.TABLE else rows, output)
    known_from = reference.expiry_days.known_from(code)
    if known_from is not None and rows[0]["date"] < known_from.isoformat():
        typer.echo(f"Days of expiry at {code} are known from {known_from} on.", err=True)


@app.command(epilog="Example: strikelake catalog batches --table option_chain --exchange NSE --limit 5")
def batches(
    ctx: typer.Context,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only this exchange.")] = None,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Only this session date."),
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch id.")] = None,
    quality: Annotated[
        bool,
        typer.Option("--quality", help="Show null rates, gaps, lateness and flagged rows of option_chain's."),
    ] = False,
    output: _OUTPUT = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Newest batches to show.")] = 20,
) -> None:
    """List the newest micro-batches of ml_feature_batches; with --batch, the datasets that contain it."""
    from catalog import batches as mirror
    from catalog.database import opened_database
    from catalog.datasets import datasets_with

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    if quality:
        _show_quality(settings, table, exchange, date, batch, output, limit)
        return
    with opened_database(settings.catalog) as engine:
        rows = mirror.batches(
            engine,
            table=table,
            exchange=exchange,
            day=date.date() if date else None,
            batch_id=batch,
            limit=limit,
        )
        containing = datasets_with(engine, batch) if batch is not None and rows else []
    columns = ["batch_time", "table_name", "exchange", "date", "record_count", "table_version", "batch_id"]
    every = [*columns, *(name for name in mirror.COLUMNS if name not in columns)]
    if batch is not None:
        rows = [{**row, "datasets": containing} for row in rows]
        columns, every = [*columns, "datasets"], [*every, "datasets"]
    chosen = columns if output is Format.TABLE else every
    show_rows(rows, output, columns=chosen, zone=settings.timezone)


@app.command(epilog="Example: strikelake catalog verify --since 2026-07-20")
def verify(
    ctx: typer.Context,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Only sessions of this date and later."
        ),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    output: _OUTPUT = Format.TABLE,
) -> None:
    """Recompute file checksums and batch digests; exit code 3 if a file or a batch is damaged."""
    from catalog import batches as mirror
    from catalog.audit import audit, files_to_audit
    from catalog.database import opened_database
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    if table is not None:
        settings.lake.path(table)
    day = since.date() if since else None
    tables = [table] if table else None
    with opened_database(settings.catalog) as engine:
        mirror.sync(settings.lake, engine)
        total = files_to_audit(settings.lake, tables=tables, since=day)
        with progress_bar("files", total=total) as advance:
            result = audit(settings.lake, engine, tables=tables, since=day, progress=advance)
    names = ["kind", "table", "date", "exchange", "batch_id", "detail", "path"]
    if result.damage or output is not Format.TABLE:
        show_rows([{n: getattr(d, n) for n in names} for d in result.damage], output, columns=names)
    verdict = f"{len(result.damage):,} are damaged" if result.damage else "all as committed"
    told = f"{result.files:,} files, {result.batches:,} batches, {result.rows:,} rows: {verdict}"
    typer.echo(told, err=output is not Format.TABLE)
    if result.damage:
        raise typer.Exit(_BREACH)


@app.command(epilog="Example: strikelake catalog columns option_chain")
def columns(
    table: Annotated[str, typer.Argument(help="option_chain, candles, quarantine, signals ...")],
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
    show_rows(rows, output, columns=names, fold=("type", "unit", "about"))


def _show_quality(
    settings: Settings,
    table: str | None,
    exchange: str | None,
    day: datetime | None,
    batch: str | None,
    output: Format,
    limit: int,
) -> None:
    """Rows of the view batch_quality, newest first, with the rows that each flag is set on."""
    from catalog import batches as mirror
    from catalog.database import opened_database
    from catalog.flag_counts import shown
    from lake.session import Session

    if table not in {None, "option_chain"}:
        raise TableNotFoundError(f"quality is told of the batches of option_chain, not of {table}")
    given_day = day.date() if day else None
    given = {"exchange": exchange, "date": given_day, "batch_id": batch}
    wanted = {name: value for name, value in given.items() if value is not None}
    where = " AND ".join(f"{name} = ${name}" for name in wanted) or "true"
    sql = f"SELECT * FROM batch_quality WHERE {where} ORDER BY first_event_time DESC, batch_id DESC"
    with Session(settings.lake) as session:
        rows = session.table(sql, wanted, limit=limit)
    with opened_database(settings.catalog) as engine:
        counted = {
            (row["batch_id"], row["date"], row["exchange"]): shown(row["flagged_rows"])
            for row in mirror.batches(
                engine, table="option_chain", exchange=exchange, day=given_day, batch_id=batch
            )
        }
    found = [
        {**row, "flagged_rows": counted.get((row["batch_id"], row["date"], row["exchange"]))}
        for row in rows.to_pylist()
    ]
    show_rows(found, output, columns=[*rows.column_names, "flagged_rows"], zone=settings.timezone)


def _follow(ctx: typer.Context, *, from_scratch: bool) -> None:
    from catalog import batches as mirror
    from catalog.database import opened_database
    from catalog.datasets import sync_datasets
    from catalog.model_runs import sync_models
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    with opened_database(settings.catalog) as engine:
        commits = mirror.pending_commits(settings.lake, engine, from_scratch=from_scratch)
        with progress_bar("commits", total=commits) as advance:
            if from_scratch:
                result = mirror.rebuild(settings.lake, engine, progress=advance)
            else:
                result = mirror.sync(settings.lake, engine, progress=advance)
        typer.echo(f"{result.commits:,} commits followed, {result.batches:,} batches added")
        try:
            sync_datasets(settings.lake, engine)
        finally:
            sync_models(settings.models_dir, engine)
