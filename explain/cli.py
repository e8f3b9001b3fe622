"""Train on a replayed dataset, and say why a signal was given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import command_line, settings_of
from lake.errors import CatalogUnavailableError, ModelNotReadableError
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from explain.frame import LabelTerms
    from explain.training import TrainingTerms
    from explain.training_run import TrainingRun
    from lake.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_BREACH = 3
_ROWS_SHOWN = 15
_OUTPUT = Annotated[TextOrJson, typer.Option(help="How to print the result.")]
_HORIZON = re.compile(r"(\d+)\s*(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

_TRAIN_EXAMPLES = """
\b
Examples:
  strikelake dataset create july --table option_chain --from 2026-07-01 --to 2026-07-31
  strikelake explain train NSE --dataset july --symbol NIFTY --horizon 15m
"""


@app.callback()
def explain() -> None:
    """Train on a replayed dataset, and say why a signal was given."""


def _horizon(text: str) -> timedelta:
    match = _HORIZON.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r}: give a number and s, m or h, as in 15m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


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
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Train a model on a dataset, measure it walking forward, and save it with its card and reports."""
    from catalog.database import opened_database
    from catalog.datasets import read
    from catalog.exchanges import canonical_symbol
    from catalog.model_runs import record_model
    from explain.boosting import BoostingTerms
    from explain.dataset_frame import frame_of
    from explain.frame import LabelTerms
    from explain.training import TrainingTerms
    from explain.training_run import run_training, steps
    from lake.progress import progress_bar

    settings = settings_of(ctx)
    known, chosen = _exchange(exchange), read(settings.lake, dataset)
    labels = LabelTerms(horizon=_horizon(horizon), threshold=threshold)
    terms = TrainingTerms(folds=folds, boosting=BoostingTerms(seed=seed, rounds=rounds))
    names = [canonical_symbol(symbol) for symbol in symbols or ()]
    commands = _rebuild(settings, dataset, known, names, labels, terms)
    with progress_bar("rows", total=sum(part.row_count for part in chosen.tables)) as advance:
        frame = frame_of(settings.lake, chosen, known, labels, symbols=names, progress=advance)
    with progress_bar("steps", total=steps(terms)) as advance:
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
    _show_run(run, output, settings)


@app.command(epilog="Example: strikelake explain models NSE")
def models(
    ctx: typer.Context,
    exchange: Annotated[str | None, typer.Argument(help="Only of this exchange.")] = None,
    output: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.TABLE,
) -> None:
    """List the trained models, the dataset of each, and whether it beats guessing by frequency."""
    from catalog.exchanges import EXCHANGES
    from explain.model_folder import list_models, read_info

    settings = settings_of(ctx)
    rows, damaged = [], []
    for code in EXCHANGES if exchange is None else (_exchange(exchange),):
        for folder in list_models(settings.models_dir, code):
            try:
                info = read_info(folder)
            except ModelNotReadableError as error:
                damaged.append(str(error))
                continue
            rows.append(
                {
                    "exchange": code, "model_version": info.model_version, "dataset": info.dataset["name"],
                    "symbols": ", ".join(info.symbols), "rows": info.metrics.get("rows"),
                    "logloss": info.metrics.get("logloss"),
                    "baseline_logloss": info.metrics.get("baseline_logloss"),
                    "better": info.metrics.get("beats_baseline"), "created_at": info.created_at,
                    "content_digest": info.dataset["content_digest"], "path": str(folder),
                }
            )  # fmt: skip
    rows.sort(key=lambda row: row["created_at"])
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


def _exchange(text: str) -> str:
    from catalog.exchanges import canonical_exchange

    known = canonical_exchange(text)
    if known is None:
        raise typer.BadParameter(f"{text!r} is no exchange", param_hint="EXCHANGE")
    return known


def _rebuild(
    settings: Settings,
    dataset: str,
    exchange: str,
    symbols: Sequence[str],
    labels: LabelTerms,
    terms: TrainingTerms,
) -> list[str]:
    """The commands that make a model again, every option written out."""
    start = command_line(settings)
    only = "".join(f" --symbol {shlex.quote(symbol)}" for symbol in symbols)
    return [
        f"{start} dataset verify {dataset}",
        f"{start} explain train {exchange} --dataset {dataset}{only} "
        f"--horizon {labels.horizon.total_seconds():.0f}s --threshold {labels.threshold!r} "
        f"--folds {terms.folds} --seed {terms.boosting.seed} --rounds {terms.boosting.rounds}",
    ]


def _show_run(run: TrainingRun, output: TextOrJson, settings: Settings) -> None:
    from explain.model_card import verdict

    info = run.info
    if output is TextOrJson.JSON:
        told = {
            "model_version": info.model_version, "folder": str(run.folder), "already_there": run.was_there,
            "exchange": info.exchange, "symbols": info.symbols, "dataset": info.dataset,
            "metrics": info.metrics, "folds": info.folds, "warnings": info.warnings,
            "top_features": info.top_features["all"][:5],
        }  # fmt: skip
        typer.echo(to_json(told, zone=settings.timezone))
        return
    state = "already there, identical; it is kept" if run.was_there else "saved"
    typer.echo(f"model {info.model_version} of {info.exchange}: {state} in {run.folder}")
    metrics = info.metrics
    shares = ", ".join(f"{name} {share:.1%}" for name, share in metrics["class_shares"].items())
    typer.echo(f"  {metrics['rows']:,} rows of {metrics['sessions']} sessions: {shares}")
    typer.echo(f"  {verdict(metrics)}")
    typer.echo(
        f"  accuracy {metrics['accuracy']:.1%}, the commonest class {metrics['majority_accuracy']:.1%}; "
        f"max_depth {info.parameters['max_depth']} costs {metrics['depth_cost_logloss']:+.4f} log loss"
    )
    typer.echo(f"  most of it comes from {', '.join(info.top_features['all'][:5])}")
    for warning in info.warnings:
        typer.echo(f"  warning: {warning}")


def _show_drift(report: dict[str, Any]) -> None:
    dates = [one["date"] for one in report["recent_sessions"]]
    since = f"{len(dates)} sessions since, {dates[0]} to {dates[-1]}" if dates else "no session since"
    trained = len(report["training_sessions"])
    typer.echo(f"model {report['model_version']} of {report['exchange']}: {trained} of training, {since}")
    if report["why_not"]:
        typer.echo(f"nothing to judge by: {report['why_not']}")
    columns = [
        "feature", "class", "training_mean", "recent_mean", "difference", "difference_in_standard_errors",
        "degrees_of_freedom", "training_rank", "recent_rank",
    ]  # fmt: skip
    show_rows(report["rows"][:_ROWS_SHOWN], Format.TABLE, columns=columns)
