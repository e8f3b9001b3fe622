"""Train on a replayed dataset, and say why a signal was given."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lake.cli import settings_of
from lake.output import Format, TextOrJson, show_rows, to_json

if TYPE_CHECKING:
    from explain.external_model import ExplainableModel
    from explain.model_data import ModelRows
    from explain.reports import Reports

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_OUTPUT = Annotated[TextOrJson, typer.Option(help="How to print the result.")]
_NAME_WIDTH = 36

_REPORT_EXAMPLES = """
\b
Examples:
  strikelake explain report --model models/NSE/20260724-0a1b2c3d4e5f --data week30.parquet
  strikelake explain report --model mine.pkl --allow-pickle --data rows.csv --label signal \\
      --to my_reports
"""


@app.callback()
def explain() -> None:
    """Train on a replayed dataset, and say why a signal was given."""


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
