"""Train on a replayed dataset, and say why a signal was given."""

from __future__ import annotations

from typing import Annotated

import typer

from lake.cli import settings_of
from lake.output import Format, TextOrJson, show_rows, to_json

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def explain() -> None:
    """Train on a replayed dataset, and say why a signal was given."""


@app.command(epilog="Example: strikelake explain drift NSE --sessions 5")
def drift(
    ctx: typer.Context,
    exchange: Annotated[str, typer.Argument(help="NSE or BSE.")],
    model: Annotated[str | None, typer.Option(help="model_version  [default: the newest model]")] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions after training that are compared.")] = 5,
    output: Annotated[TextOrJson, typer.Option(help="How to print the result.")] = TextOrJson.TEXT,
) -> None:
    """How what each feature adds to the scores has moved since training; also written to the reports."""
    from catalog.batches import sync
    from catalog.database import opened_database
    from catalog.exchanges import canonical_exchange
    from catalog.reference import ReferenceData
    from explain.attribution_drift import record
    from explain.drift_report import drift_report, write_report
    from explain.model_folder import find_model, read_info
    from lake.progress import progress_bar
    from lake.session import Session

    settings = settings_of(ctx)
    known = canonical_exchange(exchange)
    if known is None:
        raise typer.BadParameter(f"{exchange!r} is no exchange", param_hint="EXCHANGE")
    folder = find_model(settings.models_dir, known, model)
    with progress_bar("rows explained", total=None) as advance:
        recorded = record(settings.lake, folder, ReferenceData.load(settings.root).calendar, progress=advance)
    with Session(settings.lake) as session:
        report = drift_report(session, read_info(folder), sessions=sessions)
    file = write_report(report, settings.models_dir / known / "reports")
    with opened_database(settings.catalog) as engine:
        sync(settings.lake, engine, tables=["attribution"])
    if output is TextOrJson.JSON:
        typer.echo(to_json(report))
        return
    dates = [one["date"] for one in report["recent_sessions"]]
    over = f"{dates[0]} to {dates[-1]} ({len(dates)})" if dates else "none"
    typer.echo(
        f"model {report['model_version']} of {known}: {len(report['training_sessions'])} sessions of training,\n"
        f"sessions since: {over}; newly recorded: {len(recorded.training_sessions)} and "
        f"{len(recorded.sessions)}"
    )
    for day in recorded.without_rows:
        typer.echo(f"  {day} gives no labelled row and is left out")
    if report["why_not"]:
        typer.echo(f"no comparison: {report['why_not']}")
    columns = ["feature", "class", "training_mean", "recent_mean", "difference",
               "difference_in_standard_errors", "training_rank", "recent_rank"]  # fmt: skip
    show_rows(report["rows"][:15], Format.TABLE, columns=columns)
    typer.echo(f"all of it: {file}")
