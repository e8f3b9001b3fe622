"""Query the lake in DuckDB SQL."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from lake.cli import settings_of
from lake.errors import QueryError
from lake.output import Format, show_rows

if TYPE_CHECKING:
    from lake.session import Session

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_EXAMPLES = """
\b
Examples:
  strikelake sql "SELECT * FROM pcr_5m ORDER BY bucket_start DESC LIMIT 10"
  strikelake sql "SELECT count(*) FROM option_chain" --at 3
  strikelake sql "SELECT count(*) FROM option_chain" --at "2026-11-20 15:30"
  strikelake sql "SELECT max(event_time) FROM option_chain" --live
  strikelake sql --list
"""


@app.command(epilog=_EXAMPLES)
def sql(
    ctx: typer.Context,
    query: Annotated[str | None, typer.Argument(help="One SQL statement; '-' reads it from stdin.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the statement from a file.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="VERSION|TIME", help="Bind every table to a version, or to a time.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Add rows that are spooled, not committed.")] = False,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Rows of a table at most.")] = 100,
    list_: Annotated[bool, typer.Option("--list", help="List the tables and views.")] = False,
) -> None:
    """Query the lake in DuckDB SQL: tables, and the views of sql/views.

    Times without an offset are exchange-local (Asia/Kolkata).
    """
    from lake.session import Session

    settings = settings_of(ctx)
    with Session(settings.lake, at=moment_or_version(at, settings.timezone), live=live) as session:
        if list_:
            show_rows(_names(session), output, columns=["name", "kind", "about"])
            return
        # A table shows the first rows: one more than that tells that there are more.
        wanted = limit + 1 if output is Format.TABLE else None
        result = session.table(_statement(query, file), limit=wanted)
    try:
        rows = result.to_pylist()
    except (ValueError, OverflowError) as error:
        raise QueryError(f"the result has a value that cannot be shown: {error}") from error
    show_rows(rows, output, columns=result.column_names, zone=settings.timezone, limit=limit)


def moment_or_version(text: str | None, timezone: str) -> int | datetime | None:
    """`--at` as a version or an aware moment.

    Raises:
        QueryError: It is neither.
    """
    if text is None:
        return None
    if text.isascii() and text.strip().isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise QueryError(
            f"--at {text!r} is neither a version (a whole number) nor a time (YYYY-MM-DD HH:MM[:SS][+05:30])"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def _statement(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise typer.BadParameter("give one SQL statement, or --file", param_hint="QUERY")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"{file}: {error}") from error
    return typer.get_text_stream("stdin").read() if query == "-" else str(query)


def _names(session: Session) -> list[dict[str, str]]:
    from lake.queries import load_folder
    from lake.session import VIEWS

    tables = [
        {"name": name, "kind": "table", "about": f"version {snapshot.version}, {len(snapshot.files)} files"}
        for name, snapshot in session.snapshots.items()
    ]
    views = [
        {"name": query.name, "kind": "view", "about": session.unbound.get(query.name, query.purpose)}
        for query in load_folder(VIEWS)
    ]
    return tables + views
