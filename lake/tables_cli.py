"""Look at the Delta tables: what is there, and what happened to it."""

from __future__ import annotations

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
def lake() -> None:
    """Look at the Delta tables: what is there, and what happened to it."""


@app.command(epilog="Example: strikelake lake tables")
def tables(ctx: typer.Context, output: _OUTPUT = Format.TABLE) -> None:
    """List the tables with version, files, rows and size."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from lake.snapshot import read_snapshot

    settings = settings_of(ctx)
    found = settings.lake.tables()
    if not found:
        raise TableNotFoundError(f"no lake at {settings.root}: run 'strikelake demo', or give --root")
    rows = []
    for name, path in found.items():
        snapshot = read_snapshot(path)
        actions = pa.table(snapshot.handle.get_add_actions(flatten=True))
        rows.append(
            {
                "table": name,
                "version": snapshot.version,
                "files": len(snapshot.files),
                "rows": pc.sum(actions.column("num_records")).as_py() or 0,
                "size_bytes": pc.sum(actions.column("size_bytes")).as_py() or 0,
                "columns": len(snapshot.schema),
                "path": str(path),
            }
        )
    show_rows(rows, output)


@app.command(epilog="Example: strikelake lake history option_chain --limit 5")
def history(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="Table name, see 'strikelake lake tables'.")],
    output: _OUTPUT = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Newest commits to show.")] = 20,
) -> None:
    """List the newest commits of a table: version, time, rows, batch."""
    from lake.commit_log import read_commit, versions

    settings = settings_of(ctx)
    path = settings.lake.path(table)
    rows = []
    for version in reversed(versions(path)[-limit:]):
        commit = read_commit(path, version)
        rows.append(
            {
                "version": version,
                "time": commit.time,
                "operation": commit.operation,
                "files": len(commit.adds),
                "rows": commit.rows,
                "batch_id": commit.batch.get("batch_id"),
            }
        )
    show_rows(rows, output, zone=settings.timezone)
