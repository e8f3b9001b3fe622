"""`strikelake lake export`: serving tables in a database that Grafana, Metabase or Superset read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lake.cli import settings_of
from lake.errors import SettingsError, StrikelakeError
from lake.output import Format, show_rows
from lake.tables_cli import app

if TYPE_CHECKING:
    from catalog.export import ExportedTable, Source, Target
    from catalog.serving import ServingTable
    from lake.settings import Settings

__all__ = ["app"]

SOURCES = "strikelake.serving"

_COLUMNS = ["table", "done", "row_count", "version", "why"]


class Kind(StrEnum):
    """What kind of target."""

    POSTGRES = "postgres"
    SQLITE = "sqlite"
    DUCKDB = "duckdb"


@app.command(epilog="Example: strikelake lake export --to duckdb --path serving.duckdb --watch 60")
def export(
    ctx: typer.Context,
    to: Annotated[Kind, typer.Option(help="What the tables are for.")],
    url: Annotated[
        str | None,
        typer.Option(help="postgres: address without a password; with one, set STRIKELAKE_EXPORT_URL."),
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="sqlite, duckdb: the file  [default: serving.* in the lake's folder]")
    ] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Make the tables anew, whatever is there.")] = False,
    watch: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Go on, so often, until Ctrl-C.")
    ] = None,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Keep serving tables in another database up to date: flat, with what is new since the last time.

    paper_trading_metrics, health_metrics, feed_quality, drift_scores, attribution, signals, feature_summary,
    batch_quality; alert_states (who fires now) and alerts (every change of an alert).
    """
    from catalog.export import export as bring
    from catalog.export import export_sources
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    sources = _sources(settings)
    wanted, others = _tables(tables, sources)
    with _target(settings, to, url, path) as target:
        while True:
            try:
                with progress_bar("rows", total=None) as advance:
                    done = bring(settings.lake, target, tables=wanted, full=full, progress=advance)
                    done += export_sources(target, others, full=full)
                _show(done, output, settings, quiet=watch is not None)
                full = False
            except StrikelakeError as error:
                if watch is None or isinstance(error, SettingsError):
                    raise
                typer.echo(f"strikelake: {error}", err=True)
            if watch is None:
                return
            try:
                time.sleep(watch)
            except KeyboardInterrupt:
                typer.echo("stopped", err=True)
                return


def _show(done: list[ExportedTable], output: Format, settings: Settings, *, quiet: bool) -> None:
    """What was done; while watching, only where that is something."""
    rows = [asdict(one) for one in done if not quiet or one.done != "nothing new"]
    if rows or not quiet:
        show_rows(rows, output, columns=_COLUMNS, zone=settings.timezone)


def _tables(names: list[str] | None, sources: list[Source]) -> tuple[list[ServingTable], list[Source]]:
    from catalog.serving import SERVING_TABLES

    known = {table.name: table for table in SERVING_TABLES}
    others = {source.table.name: source for source in sources}
    unknown = [name for name in names or () if name not in known | others]
    if unknown:
        raise SettingsError(f"--table {unknown[0]}: there are: {', '.join((*known, *others))}")
    return (
        [table for name, table in known.items() if not names or name in names],
        [source for name, source in others.items() if not names or name in names],
    )


def _sources(settings: Settings) -> list[Source]:
    """What other rooms serve, by their entry points: `module:function`, which takes the settings."""
    from importlib.metadata import entry_points

    found = sorted(entry_points(group=SOURCES), key=lambda entry: entry.name)
    return [source for entry in found for source in entry.load()(settings)]


@contextmanager
def _target(settings: Settings, kind: Kind, url: str | None, path: Path | None) -> Iterator[Target]:
    if kind is Kind.POSTGRES:
        if path is not None:
            raise SettingsError("--path is of a file; a PostgreSQL has --url, or STRIKELAKE_EXPORT_URL")
        with _database(_postgres_url(settings, url), "--url" if url else "export_url") as target:
            yield target
        return
    if url is not None:
        raise SettingsError(f"--url is of a PostgreSQL; of {kind}, give --path")
    file = path or settings.root / f"serving.{kind}"
    if file.is_dir():
        raise SettingsError(f"--path {file} is a folder; name a file in it")
    if kind is Kind.SQLITE:
        with _database(_sqlite_url(file), "--path") as target:
            yield target
        return
    from catalog.export_duckdb import DuckDbTarget

    yield DuckDbTarget(file)


@contextmanager
def _database(url: str, setting: str) -> Iterator[Target]:
    from catalog.export_sql import SqlTarget

    target = SqlTarget(url, setting=setting)
    try:
        yield target
    finally:
        target.close()


def _sqlite_url(file: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def _postgres_url(settings: Settings, given: str | None) -> str:
    """The URL of a PostgreSQL; one with a password comes from the environment or the settings file only.

    Raises:
        SettingsError: There is none, it is of another database, or it has a password on the command line.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    url = given or (settings.export_url.get_secret_value() if settings.export_url else None)
    if url is None:
        raise SettingsError("where to? Set STRIKELAKE_EXPORT_URL=postgresql://user:password@host/database")
    setting = "--url" if given else "export_url"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"{setting} is not of the form postgresql://user@host:5432/database "
            "(it is not shown: it may hold a password)"
        ) from None
    if not parsed.drivername.startswith("postgres"):
        raise SettingsError(f"{setting}: {parsed.drivername} is no PostgreSQL")
    if given and (parsed.password is not None or "password" in parsed.query):
        raise SettingsError(
            "--url has a password, and other users of this machine can read command lines: "
            "set STRIKELAKE_EXPORT_URL instead, or use a .pgpass file"
        )
    return url
