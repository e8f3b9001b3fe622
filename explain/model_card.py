"""`MODEL_CARD.md`: what a model is, how well it does and how to make it again, for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explain.measures import verdict
from explain.model_folder import ModelInfo

_TOP_FEATURES = 15
_FOLD_COLUMNS = (
    ("fold", "fold"),
    ("tested on", "test_dates"),
    ("rows", "test_rows"),
    ("rounds", "rounds"),
    ("log loss", "logloss"),
    ("by frequency", "frequency_logloss"),
    ("any depth", "any_depth_logloss"),
    ("accuracy", "accuracy"),
    ("majority", "majority_accuracy"),
    ("last label", "last_label_accuracy"),
    ("momentum", "momentum_accuracy"),
)


def model_card(info: ModelInfo, commands: Sequence[str]) -> str:
    """The text of the card.

    Args:
        info: The model.
        commands: What makes it again, one command a line.
    """
    parts = (
        _head(info),
        _quality(info),
        _features(info),
        _limits(info),
        _rebuild(info, commands),
    )
    return "\n\n".join(parts) + "\n"


def run_text(info: ModelInfo, folder: Path, *, was_there: bool) -> str:
    """What a run of training tells a person, in a few lines."""
    metrics = info.metrics
    shares = ", ".join(f"{name} {share:.1%}" for name, share in metrics["class_shares"].items())
    state = "already there, identical; it is kept" if was_there else "saved"
    lines = [
        f"model {info.model_version} of {info.exchange}: {state} in {folder}",
        f"  {metrics['rows']:,} rows, sessions: {metrics['sessions']}; {shares}",
        f"  {verdict(metrics)}",
        f"  accuracy {metrics['accuracy']:.1%}, the commonest class {metrics['majority_accuracy']:.1%}; "
        f"max_depth {info.parameters['max_depth']} costs {metrics['depth_cost_logloss']:+.4f} log loss",
        f"  most of it comes from {', '.join(info.top_features['all'][:5])}",
    ]
    told = verdict(metrics)
    lines += [f"  warning: {warning}" for warning in info.warnings if warning != told]
    return "\n".join(lines)


def _head(info: ModelInfo) -> str:
    dataset, label = info.dataset, info.label
    shares = ", ".join(f"{name} {share:.1%}" for name, share in info.metrics["class_shares"].items())
    versions = ", ".join(f"{table} at version {version}" for table, version in dataset["versions"].items())
    threshold = label["threshold"]
    made = (
        "Labels and features are columns of the dataset's query. It was said that labels look "
        f"{_minutes(label)} ahead, which decides what is kept apart in testing; nothing here can check it."
        if dataset["query"]
        else f"BUY: in {_minutes(label)} the underlying's log return is above {threshold:g} x the move that "
        "its realised volatility leads one to expect over that time; SELL: below minus that; HOLD: in "
        "between. Rows whose horizon crosses the end of a session have no label."
    )
    return f"""# {info.exchange} {info.model_version}

A LightGBM classifier that says BUY, HOLD or SELL of {", ".join(info.symbols)} on {info.exchange}.

| | |
|---|---|
| model_version | `{info.model_version}` |
| SHA-256 of model.txt | `{info.model_sha256}` |
| made | {info.created_at.isoformat(timespec="seconds")} |
| dataset | `{dataset["name"]}` ({versions}) |
| content digest | `{dataset["content_digest"]}` |
| sessions | {dataset["first_date"]} to {dataset["last_date"]} ({info.metrics["sessions"]}) |
| rows trained on | {info.metrics["rows"]:,} |
| classes | {shares} |

## Label

{made}"""


def _quality(info: ModelInfo) -> str:
    metrics = info.metrics
    header = "| " + " | ".join(title for title, _ in _FOLD_COLUMNS) + " |"
    rule = "|" + "---|" * len(_FOLD_COLUMNS)
    rows = ["| " + " | ".join(_cell(fold[name]) for _, name in _FOLD_COLUMNS) + " |" for fold in info.folds]
    pooled = metrics | {
        "fold": "all", "test_dates": "", "rounds": info.parameters["num_iterations"],
        "frequency_logloss": metrics["baseline_logloss"],
    }  # fmt: skip
    rows.append("| " + " | ".join(_cell(pooled[name]) for _, name in _FOLD_COLUMNS) + " |")
    depth = metrics["depth_cost_logloss"]
    return f"""## Quality

**{verdict(metrics)}** Less than one standard error counts as no gain.

{header}
{rule}
{chr(10).join(rows)}

Each fold trains on what came before its test rows, and leaves out the rows whose label looks into them.
*By frequency* gives each class its share of the fold's training rows, *majority* always says the commonest
class, *last label* the newest label of the underlying that was known at the moment, *momentum* what the label
would be if the last 15 minutes went on. The row *all* counts each test row once; its rounds are those of the
final model, the median of the folds', trained on all rows and itself not tested.

*Any depth* is the same model without a limit on the depth of trees: max_depth {info.parameters["max_depth"]},
which keeps exact contributions of a signal quick, costs {depth:+.4f} log loss (below zero: it gains)."""


def _features(info: ModelInfo) -> str:
    by_name = {feature.name: feature for feature in info.features}
    lines = ["| feature | share of contributions | mean | std | missing |", "|---|---|---|---|---|"]
    for name in info.top_features["all"][:_TOP_FEATURES]:
        f = by_name[name]
        lines.append(
            f"| {name} | {f.importance:.1%} | {_cell(f.mean)} | {_cell(f.std)} | {f.missing_share:.1%} |"
        )
    regimes = "\n".join(
        f"- {name}: {', '.join(order[:5])}" for name, order in info.top_features.items() if name != "all"
    )
    told = f"\n\nThe first five by regime:\n\n{regimes}" if regimes else ""
    return (
        f"## Features\n\n{len(info.features)} features; those with the largest mean absolute "
        "contribution:\n\n" + "\n".join(lines) + told
    )


def _limits(info: ModelInfo) -> str:
    standing = (
        "Rows near in time share most of their label's window: the number of rows overstates the evidence.",
        "Log loss and accuracy say nothing of costs, slippage or money made.",
        "Classes are not weighted: probabilities are those of the training rows' mixture.",
        "A market unlike the sessions above is outside of what was tested.",
    )
    return "## Limits\n\n" + "\n".join(f"- {text}" for text in (*info.warnings, *standing))


def _rebuild(info: ModelInfo, commands: Sequence[str]) -> str:
    software = ", ".join(f"{name} {version}" for name, version in info.software.items())
    lines = "\n".join(commands)
    return f"""## Make it again

```sh
{lines}
```

The first proves that the dataset's rows are those recorded; the second gives the same model.txt, byte for
byte, with {software}."""


def _minutes(label: dict[str, float]) -> str:
    return f"{label['horizon_s'] / 60:g} minutes"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return str(value[0]) if value[0] == value[-1] else f"{value[0]} to {value[-1]}"
    return str(value)
