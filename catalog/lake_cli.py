"""Look after the Delta tables: what is there, what is wrong, and keeping them fast."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from catalog.export_cli import app
from lake.cli import settings_of
from lake.errors import StrikelakeError, TableNotFoundError
from lake.output import Format, TextOrJson, show_rows, to_json

__all__ = ["app"]

_BREACH = 3
_DATE = ["%Y-%m-%d"]


@app.callback()
def lake() -> None:
    """Look after the Delta tables: what is there, what is wrong, and keeping them fast."""


@app.command(epilog="Example: strikelake lake doctor --repair")
def doctor(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without losing a row.")
    ] = False,
    checksums: Annotated[bool, typer.Option(help="Read every data file and compare its checksum.")] = True,
    output: Annotated[TextOrJson, typer.Option(help="How to print the findings.")] = TextOrJson.TEXT,
) -> None:
    """Find and name what is wrong with the lake; exit code 3 if anything is left to do."""
    from catalog.audit import files_to_audit
    from catalog.doctor import examine
    from catalog.doctor_repairs import examine_and_repair
    from catalog.findings import told
    from catalog.reference import ReferenceData
    from catalog.upkeep import SPECS, finished_sessions
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    finished = finished_sessions(ReferenceData.load(settings.root).calendar)
    try:
        total = files_to_audit(settings.lake) if checksums else 0
    except StrikelakeError:
        total = None  # a table that cannot be opened: a finding, not a failure
    with progress_bar("files", total=total) as advance:
        look = partial(
            partial(examine_and_repair, specs=SPECS) if repair else examine,
            settings.lake, settings.catalog, finished=finished, checksums=checksums, progress=advance,
        )  # fmt: skip
        findings = look()
    if output is TextOrJson.JSON:
        names = ("kind", "table", "subject", "detail", "repair", "repaired")
        typer.echo(to_json([{name: getattr(f, name) for name in names} for f in findings]))
    elif not findings:
        typer.echo("nothing is wrong")
    else:
        typer.echo("\n".join(told(findings, repaired=repair)))
    if any(not f.repaired for f in findings):
        raise typer.Exit(_BREACH)


@app.command(epilog="Example: strikelake lake maintain --keep-days 7")
def maintain(
    ctx: typer.Context,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Days that a version can still be read; then its commit is archived.")
    ] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    output: Annotated[TextOrJson, typer.Option(help="How to print the summary.")] = TextOrJson.TEXT,
) -> None:
    """Compact finished sessions, write log checkpoints, archive old commits, delete needless files.

    Safe at any time, beside a running writer; the writer does it as well after each session's close.
    """
    from catalog.batches import sync
    from catalog.database import opened_database
    from catalog.reference import ReferenceData
    from catalog.upkeep import SPECS, finished_sessions, maintain_lake
    from lake.maintenance import files_to_compact, planned
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    if not settings.lake.exists():
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    calendar = ReferenceData.load(settings.root).calendar
    retention = timedelta(days=keep_days)
    if dry_run:
        plans = planned(settings.lake, SPECS, finished_sessions(calendar), retention=retention)
        _show([asdict(plan) for plan in plans], output)
        typer.echo("nothing was changed", err=True)
        return
    total = files_to_compact(settings.lake, SPECS, finished_sessions(calendar))
    with progress_bar("files", total=total) as advance:
        done = maintain_lake(settings.lake, calendar, retention=retention, progress=advance)
    problems = [problem for one in done for problem in one.problems]
    try:
        with opened_database(settings.catalog) as engine:
            sync(settings.lake, engine)
    except StrikelakeError as error:
        problems.append(str(error))
    _show(
        [
            {
                "table": one.table,
                "compacted_files": sum(c.files_before for c in one.compacted),
                "into_files": sum(c.files_after for c in one.compacted),
                "checkpoint": one.checkpoint,
                "archived_commits": one.archived_commits,
                "deleted_files": one.deleted_files,
                "freed_bytes": one.freed_bytes,
                "problems": list(one.problems),
            }
            for one in done
        ],
        output,
    )
    if problems:
        raise StrikelakeError("; ".join(problems))


def _show(rows: list[dict[str, Any]], output: TextOrJson) -> None:
    """What was done to each table, a few lines each: figures that are nought are left out."""
    if output is TextOrJson.JSON:
        typer.echo(to_json(rows))
        return
    for row in rows:
        figures = {n: v for n, v in row.items() if n not in {"table", "problems", "checkpoint"} and v}
        told = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in figures.items())
        if row.get("checkpoint") is not None:
            told += f"{', ' if told else ''}log checkpoint at version {row['checkpoint']}"
        typer.echo(textwrap.fill(f"{row['table']}: {told or 'nothing to do'}", 80, subsequent_indent="  "))


@app.command("drop-before", epilog="Example: strikelake lake drop-before 2025-01-01 --dry-run")
def drop_before(
    ctx: typer.Context,
    before: Annotated[datetime, typer.Argument(formats=_DATE, help="First session date to keep.")],
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Delete the sessions before a date, rows and files; refused while a dataset needs one of them.

    There is no way back: versions that had the rows cannot be read any more.
    """
    from catalog.batches import sync
    from catalog.database import opened_database
    from catalog.datasets import check_not_needed
    from lake.drop import doomed_files, drop_partitions

    settings = settings_of(ctx)
    day = before.date()
    found = settings.lake.tables()
    for name in tables or ():
        settings.lake.path(name)
    if not found:
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    check_not_needed(settings.lake, day, tables=tables)

    def doomed(partition: Any) -> bool:
        return date.fromisoformat(partition["date"]) < day

    rows = []
    for name, path in found.items():
        if tables and name not in tables:
            continue
        files = doomed_files(path, doomed)
        if not dry_run and files:
            drop_partitions(path, doomed)
        rows.append(
            {
                "table": name,
                "sessions": len({tuple(f.partition.values()) for f in files}),
                "files": len(files),
                "rows": sum(f.rows for f in files),
                "size_bytes": sum(f.size_bytes for f in files),
            }
        )
    show_rows(rows, output)
    if dry_run:
        typer.echo("nothing was changed", err=True)
        return
    with opened_database(settings.catalog) as engine:
        sync(settings.lake, engine)
