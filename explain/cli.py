"""Train on a replayed dataset, and say why a signal was given."""

from __future__ import annotations

import logging
import re
import textwrap
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from lake.cli import command_line, settings_of
from lake.errors import CatalogUnavailableError
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from explain.external_model import ExplainableModel
    from explain.frame import TrainingFrame
    from explain.model_data import ModelRows
    from explain.reports import Reports
    from explain.training_run import TrainingRun

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_OUTPUT = Annotated[TextOrJson, typer.Option(help="How to print the result.")]
_BREACH = 3
_ROWS_SHOWN = 15
_NAME_WIDTH = 36
_HORIZON = re.compile(r"(\d+)\s*(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

_TRAIN_EXAMPLES = """
\b
Examples:
  strikelake dataset create july --table option_chain --from 2026-07-01 --to 2026-07-31
  strikelake explain train NSE --dataset july --symbol NIFTY --horizon 15m
"""

_SIGNAL_EXAMPLES = """
\b
Examples:
  strikelake explain signal --at "2026-10-26 12:00"
  strikelake explain signal NSE --symbol NIFTY --at "2026-10-26 12:00" --depth context
"""

_REPORT_EXAMPLES = """
\b
Examples:
  strikelake explain report --model models/NSE/20260724-0a1b2c3d4e5f --data week30.parquet
  strikelake explain report --model mine.pkl --allow-pickle --data rows.csv --label signal \\
      --to my_reports
"""


class Depth(StrEnum):
    """How much a signal is explained."""

    EXACT = "exact"
    CONTEXT = "context"


@app.callback()
def explain() -> None:
    """Train on a replayed dataset, and say why a signal was given."""


@app.command(epilog=_TRAIN_EXAMPLES)
def train(
    ctx: typer.Context,
    exchange: Annotated[str, typer.Argument(help="NSE or BSE.")],
    dataset: Annotated[str, typer.Option(help="Dataset to train on.")],
    symbols: Annotated[
        list[str] | None, typer.Option("--symbol", help="Only this underlying; may be repeated.")
    ] = None,
    horizon: Annotated[str, typer.Option(help="How far labels look ahead: 900s, 15m, 1h.")] = "15m",
    threshold: Annotated[
        float, typer.Option(min=0, help="A move beyond so many expected moves is BUY or SELL.")
    ] = 0.5,
    folds: Annotated[int, typer.Option(min=2, help="Steps of the walk forward.")] = 5,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same rows and seed, same model.")] = 7,
    rounds: Annotated[
        int, typer.Option(min=1, help="Boosting rounds at most; early stopping takes fewer.")
    ] = 300,
    reports: Annotated[
        bool, typer.Option(help="Write models/EXCHANGE/reports: importance, contributions, plots.")
    ] = True,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Train a model on a dataset, measure it walking forward, and save it with its card and reports."""
    from catalog.database import opened_database
    from catalog.datasets import read
    from catalog.exchanges import canonical_symbol
    from catalog.model_runs import record_model
    from explain.boosting import BoostingTerms
    from explain.dataset_frame import frame_of, rows_to_read
    from explain.frame import LabelTerms
    from explain.model_card import run_text
    from explain.training import TrainingTerms
    from explain.training_run import rebuilding, run_training, steps
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    _lightgbm_logs()
    known, chosen = _exchange(exchange), read(settings.lake, dataset)
    labels = LabelTerms(horizon=_horizon(horizon), threshold=threshold)
    terms = TrainingTerms(folds=folds, boosting=BoostingTerms(seed=seed, rounds=rounds))
    names = [canonical_symbol(symbol) for symbol in symbols or ()]
    commands = rebuilding(command_line(settings), dataset, known, names, labels, terms)
    with progress_bar("rows", total=rows_to_read(chosen, known)) as advance:
        frame = frame_of(settings.lake, chosen, known, labels, symbols=names, progress=advance)
    with progress_bar("steps", total=steps(frame, terms)) as advance:
        run = run_training(
            frame, chosen, known, settings.models_dir, terms, commands=commands, progress=advance
        )
    try:
        with opened_database(settings.catalog) as engine:
            record_model(engine, run.folder)
    except CatalogUnavailableError as error:
        raise CatalogUnavailableError(
            f"model {run.info.model_version} is saved, but not recorded yet: {error}; run 'strikelake "
            "catalog sync' later"
        ) from error
    written = _reports(run, frame, seed) if reports else None
    if output is TextOrJson.JSON:
        typer.echo(to_json(run.summary() | {"reports": written and str(written)}, zone=settings.timezone))
    else:
        typer.echo(run_text(run.info, run.folder, was_there=run.was_there))
        typer.echo(f"  reports in {written}" if written else "  no reports written")


@app.command(epilog="Example: strikelake explain models NSE")
def models(
    ctx: typer.Context,
    exchange: Annotated[str | None, typer.Argument(help="Only of this exchange.")] = None,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
) -> None:
    """List the trained models, the dataset of each, and whether it beats guessing by frequency."""
    from catalog.exchanges import EXCHANGES
    from explain.model_list import list_models

    settings = settings_of(ctx)
    codes = list(EXCHANGES) if exchange is None else [_exchange(exchange)]
    rows, damaged = list_models(settings.models_dir, codes)
    columns = [
        "exchange",
        "model_version",
        "dataset",
        "symbols",
        "rows",
        "logloss",
        "baseline_logloss",
        "better",
    ]
    if output is not Format.TABLE:
        columns += ["created_at", "content_digest", "path"]
    show_rows(rows, output, columns=columns, zone=settings.timezone)
    for why in damaged:
        typer.echo(f"strikelake: {why}", err=True)
    if damaged:
        raise typer.Exit(_BREACH)


@app.command(epilog=_REPORT_EXAMPLES)
def report(
    ctx: typer.Context,
    model: Annotated[
        Path, typer.Option(help="Model folder, LightGBM text file, or (see --allow-pickle) a pickle.")
    ],
    data: Annotated[
        Path, typer.Option(help="Rows with the model's features: .parquet, .arrow, .feather or .csv.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to write; 'reports' beside a model folder, <name>_reports beside a file."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column with each row's class, to stratify the sample by.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes in the order of the outputs: BUY,HOLD,SELL.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Unpickle: this runs any code that the file holds.")
    ] = False,
    interactions: Annotated[
        bool, typer.Option("--interactions", help="Also the pairs of features that act together (slow).")
    ] = False,
    sample_rows: Annotated[int, typer.Option(min=100, help="Rows to compute contributions of.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 7,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Say what any LightGBM model looks at: importance, contributions, regimes, as JSON and plots."""
    from explain.external_model import load_model
    from explain.model_data import read_model_rows
    from explain.reports import write_reports
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    _lightgbm_logs()
    names = [name.strip() for name in classes.split(",")] if classes else []
    loaded = load_model(model, allow_pickle=allow_pickle, classes=names)
    read = read_model_rows(data, loaded, label=label)
    with progress_bar("rows", total=min(read.table.num_rows, sample_rows)) as advance:
        written = write_reports(
            loaded.booster, read.table, loaded.features, loaded.outputs.classes, read.regimes,
            to or _beside(model), labels=read.labels, model_version=loaded.model_version,
            dataset=read.dataset, seed=seed, sample_rows=sample_rows, progress=advance,
            interactions=interactions,
        )  # fmt: skip
    if output is TextOrJson.JSON:
        told = {
            "model_version": loaded.model_version, "kind": loaded.outputs.kind.value,
            "outputs": loaded.outputs.names, "features": len(loaded.features),
            "folder": str(written.folder), "files": written.files, "ignored_columns": read.ignored,
            "regimes": [dimension.name for dimension in read.regimes],
            "sample": written.summary["sample"], "additivity_error": written.summary["additivity_error"],
            "top_features": written.top_features["global"],
        }  # fmt: skip
        typer.echo(to_json(told, zone=settings.timezone))
        return
    _show_report(written, loaded, read)


def _beside(model: Path) -> Path:
    path = model.resolve()
    if path.name == "model.txt":
        path = path.parent
    return path.parent / ("reports" if path.is_dir() else f"{path.stem}_reports")


def _show_report(written: Reports, model: ExplainableModel, read: ModelRows) -> None:
    sample = written.summary["sample"]
    regimes = ", ".join(d.name for d in read.regimes) or "none: no column vix, trend or days_to_expiry"
    for line in (
        f"model: {model.model_version}, {model.outputs.kind.value}, {len(model.features)} features, "
        f"{written.summary['iterations']} rounds",
        f"data: {read.dataset['name']}, {sample['rows']:,} of {sample['of_rows']:,} rows",
        f"regimes: {regimes}",
        *([f"ignored columns: {', '.join(read.ignored)}"] if read.ignored else []),
    ):
        typer.echo(textwrap.fill(line, 80, subsequent_indent="  "))
    typer.echo()
    spread = written.summary["features"]
    rows = [
        {
            "feature": _shortened(entry["feature"]),
            "share": f"{entry['share']:.1%}".rjust(6),
            "mean_abs": f"{entry['mean_abs']:.4g}",
            "moves_most": max(spread[entry["feature"]].items(), key=lambda one: one[1]["mean_abs"])[0],
        }
        for entry in written.top_features["global"]
    ]
    columns = ["feature", "share", "mean_abs", "moves_most"]
    show_rows(rows, Format.TABLE, columns=columns if len(model.outputs.names) > 1 else columns[:-1])
    typer.echo(f"\nwritten to {written.folder}:")
    typer.echo(textwrap.fill(", ".join(written.files), 80, initial_indent="  ", subsequent_indent="  "))


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}.."


def _lightgbm_logs() -> None:
    """LightGBM prints what it has to say on stdout, which is for data: it goes to our log instead."""
    import lightgbm as lgb

    lgb.register_logger(logging.getLogger("explain.lightgbm"))


def _reports(run: TrainingRun, frame: TrainingFrame, seed: int) -> Path:
    from explain.reports import write_reports
    from explain.training_run import SAMPLE_ROWS
    from lake.progress import progress_bar

    info = run.info
    with progress_bar("rows explained", total=min(frame.rows.num_rows, SAMPLE_ROWS)) as advance:
        written = write_reports(
            run.trained.booster, frame.rows, frame.features, info.classes, info.regimes,
            run.folder.parent / "reports", labels=frame.classes(), model_version=info.model_version,
            dataset=info.dataset, seed=seed, sample_rows=SAMPLE_ROWS, progress=advance,
        )  # fmt: skip
    return written.folder


def _horizon(text: str) -> timedelta:
    match = _HORIZON.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r}: give a number and s, m or h, as in 15m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


@app.command(epilog=_SIGNAL_EXAMPLES)
def signal(
    ctx: typer.Context,
    exchange: Annotated[str | None, typer.Argument(help="NSE or BSE.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="What was known then is looked at.  [default: now]")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Underlying, e.g. NIFTY.")] = None,
    model: Annotated[
        str | None, typer.Option(help="model_version  [default: the one that was recorded, else the newest]")
    ] = None,
    depth: Annotated[
        Depth | None, typer.Option(help="exact explains this signal, context only ranks  [default: exact]")
    ] = None,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Make a signal again from the lake, and compare it with the one recorded; exit code 3 if it differs.

    Without EXCHANGE and --symbol it is the newest one that was recorded by that time.
    """
    from catalog.exchanges import canonical_symbol
    from explain.rebuild import newest_recorded, rebuild_signal, signal_lines

    settings = settings_of(ctx)
    moment = datetime.now(UTC) if at is None else _moment(at, settings.timezone)
    where = None if exchange is None else _exchange(exchange)
    what = None if symbol is None else canonical_symbol(symbol)
    recorded = where is None or what is None
    if where is None or what is None:
        where, what, moment = newest_recorded(settings.lake, moment, exchange=where, symbol=what)
    rebuilt = rebuild_signal(
        settings.lake, settings.models_dir, where, what, moment,
        of_event=recorded, version=model, depth=None if depth is None else depth.value,
    )  # fmt: skip
    if output is TextOrJson.JSON:
        told = rebuilt.signal
        values = {
            "signal": told.signal, "confidence": told.confidence, "probabilities": told.probabilities,
            "event_time": told.event_time, "exchange": told.exchange, "symbol": told.symbol,
            "metadata": told.metadata, "recorded": rebuilt.recorded, "differences": rebuilt.differences,
        }  # fmt: skip
        typer.echo(to_json(values, zone=settings.timezone))
    else:
        typer.echo("\n".join(signal_lines(rebuilt)))
    if rebuilt.differences:
        raise typer.Exit(_BREACH)


@app.command(epilog="Example: strikelake explain drift NSE --sessions 5")
def drift(
    ctx: typer.Context,
    exchange: Annotated[str, typer.Argument(help="NSE or BSE.")],
    model: Annotated[str | None, typer.Option(help="model_version  [default: the newest model]")] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions after training that are compared.")] = 5,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """How what each feature adds to the scores has moved since training; a report keeps it."""
    from catalog.batches import sync
    from catalog.database import opened_database
    from catalog.reference import ReferenceData
    from explain.attribution_drift import record
    from explain.drift_report import drift_report, write_report
    from explain.model_folder import find_model, read_info
    from lake.progress import progress_bar
    from lake.session import Session

    settings, known = settings_of(ctx), _exchange(exchange)
    folder = find_model(settings.models_dir, known, model)
    calendar = ReferenceData.load(settings.root).calendar
    with progress_bar("rows explained", total=None) as advance:
        recorded = record(settings.lake, folder, calendar, progress=advance)
    with Session(settings.lake) as session:
        report = drift_report(session, read_info(folder), sessions=sessions)
    file = write_report(report, settings.models_dir / known / "reports")
    with opened_database(settings.catalog) as engine:
        sync(settings.lake, engine, tables=["attribution"])
    if output is TextOrJson.JSON:
        typer.echo(to_json(report, zone=settings.timezone))
        return
    for day in recorded.without_rows:
        typer.echo(f"{day} gives no labelled row and is left out", err=True)
    _show_drift(report)
    typer.echo(f"all of it: {file}")


def _moment(text: str, timezone: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time, e.g. 2026-10-26 12:00", param_hint="--at") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def _exchange(text: str) -> str:
    from catalog.exchanges import canonical_exchange

    known = canonical_exchange(text)
    if known is None:
        raise typer.BadParameter(f"{text!r} is no exchange", param_hint="EXCHANGE")
    return known


def _show_drift(report: dict[str, Any]) -> None:
    trained, dates = len(report["training_sessions"]), [one["date"] for one in report["recent_sessions"]]
    since = f"{dates[0]} to {dates[-1]} ({len(dates)})" if dates else "none"
    typer.echo(f"model {report['model_version']} of {report['exchange']}")
    typer.echo(f"sessions of training: {trained}; since: {since}")
    if report["why_not"]:
        typer.echo(textwrap.fill(f"nothing to judge by: {report['why_not']}", 80))
    # Rounded and with short titles, so that the differences themselves have room on 80 columns.
    shown = [
        {
            "feature": row["feature"],
            "class": row["class"],
            "training": _signed(row["training_mean"], 4),
            "recent": _signed(row["recent_mean"], 4),
            "moved": _signed(row["difference"], 4),
            "t": _signed(row["difference_in_standard_errors"], 1),
            "rank": f"{row['training_rank']} to {row['recent_rank']}",
        }
        for row in report["rows"][:_ROWS_SHOWN]
    ]
    if not shown:
        return
    show_rows(shown, Format.TABLE)
    typer.echo(
        f"the {len(shown)} furthest of {len(report['rows'])}, mean contributions in log-odds; t: moved, in\n"
        "standard errors. Of so many, some are far out by chance."
    )


def _signed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:+.{digits}f}"
