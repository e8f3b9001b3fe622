"""The plots of a report, as PNG files. Drawn without a window, and without a trace in pyplot's state."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from explain.attribution import Attribution
from explain.report_documents import Document, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 15
"""Features of a plot at most."""

_SHOWN_BY_REGIME = 8
_BEESWARMS = 5
_DPI = 120
_NAME_WIDTH = 32
_STEPS = 12
_UP, _DOWN = "#d6274b", "#1f6fc4"
_RAW = "contribution to the raw score"


def draw_plots(
    folder: Path, found: Attribution, documents: Mapping[str, Document], subject: Subject
) -> list[str]:
    """Draw importance bars, a beeswarm an output, bars by regime and a waterfall; names of the files.

    Of a model of many classes only the `_BEESWARMS` outputs of largest contributions get a beeswarm. Without
    a ranked regime there are no bars by regime.

    Args:
        folder: Where to write.
        found: Contributions.
        documents: The documents of the same report, by name.
        subject: What is explained.
    """
    sampled = f"{len(found.sample.indices):,} of {found.sample.of_rows:,} rows"
    caption = _caption(subject, sampled)
    with _drawing():
        # Importance is a matter of the trees alone.
        rounds = _caption(subject, f"{subject.iterations:,} boosting rounds")
        files = [_importance(folder, documents["feature_importance"], rounds)]
        files += _beeswarms(folder, found, caption)
        files += _regimes(folder, documents["shap_top_features"], caption)
        files.append(_waterfall(folder, found, documents["shap_summary"]["waterfall"], caption))
    return files


@contextmanager
def _drawing() -> Iterator[None]:
    """Matplotlib's defaults and a fixed random state within; outside, both as the caller had them."""
    import matplotlib.style

    random = np.random.get_state()
    try:
        with matplotlib.style.context("default"), warnings.catch_warnings():
            # A feature that no row has is drawn in grey; shap still asks for the range of its values.
            warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
            np.random.seed(0)  # shap scatters the dots of a beeswarm by this global state
            yield
    finally:
        np.random.set_state(random)


@contextmanager
def _figure(file: Path, width: float, height: float, *, rows: int = 1) -> Iterator[tuple[Figure, Any]]:
    """A figure with its axes, saved at the end; pyplot, its backends and its windows have no part in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure, figure.subplots(rows)
    # Cropped to what is drawn, so that a long name is never cut.
    figure.savefig(file, dpi=_DPI, bbox_inches="tight", pad_inches=0.2, metadata={"Software": None})


def _importance(folder: Path, importance: Document, caption: str) -> str:
    names = list(importance["gain"])[:SHOWN]
    with _figure(folder / "importance.png", 9, 1.8 + 0.34 * len(names)) as (figure, axes):
        places = np.arange(len(names))
        for offset, kind, told, color in (
            (-0.2, "gain", "gain (how much splits on it lowered the loss)", "#1f77b4"),
            (0.2, "split", "split (how often trees split on it)", "#b0b0b0"),
        ):
            shares = [importance[kind][name] for name in names]
            axes.barh(places + offset, shares, height=0.38, color=color, label=told)
        _name_rows(axes, _labels(names))
        _as_percent(axes)
        axes.set_xlabel("share of all features")
        axes.legend(loc="lower right", frameon=False)
        _title(figure, f"Feature importance{_top_of(len(names), len(importance['gain']))}", caption)
    return "importance.png"


def _beeswarms(folder: Path, found: Attribution, caption: str) -> list[str]:
    import shap

    magnitudes = found.magnitude()
    largest = np.sort(np.argsort(-magnitudes.sum(axis=1), kind="stable")[:_BEESWARMS])
    names = _file_names(found.outputs.names)
    for k in largest:
        shown = min(SHOWN, len(found.features))
        explanation = shap.Explanation(
            values=found.values[:, k], data=found.matrix, feature_names=_labels(found.features)
        )
        with _figure(folder / names[k], 9, 2.2 + 0.4 * shown) as (figure, axes):
            shap.plots.beeswarm(
                explanation, max_display=shown, order=np.argsort(-magnitudes[k], kind="stable"),
                ax=axes, show=False, plot_size=None, s=10,
            )  # fmt: skip
            axes.tick_params(axis="y", labelsize=10)
            axes.tick_params(axis="x", labelsize=9)
            axes.set_xlabel(f"{_RAW} of {_label(found.outputs.names[k])}; a dot a row", fontsize=10)
            _title(figure, f"What moves {_label(found.outputs.names[k])}", caption)
    return [names[k] for k in largest]


def _regimes(folder: Path, top: Document, caption: str) -> list[str]:
    panels = {
        dimension["name"]: ranked
        for dimension in top["regimes"]
        if (ranked := _ranked(dimension["name"], top["by_regime"]))
    }
    if not panels:
        return []
    shown = {name: _largest(ranked) for name, ranked in panels.items()}
    height = 1.2 + sum(0.9 + 0.5 * len(names) for names in shown.values())
    with _figure(folder / "regimes.png", 9, height, rows=len(panels)) as (figure, all_axes):
        for axes, (dimension, ranked) in zip(np.atleast_1d(all_axes), panels.items(), strict=True):
            names = shown[dimension]
            width = 0.8 / len(ranked)
            for i, (regime, one) in enumerate(ranked.items()):
                shares = {entry["feature"]: entry["share"] for entry in one["top"]}
                places = np.arange(len(names)) - 0.4 + width * (i + 0.5)
                values = [shares.get(name, 0.0) for name in names]
                label = f"{regime} ({one['rows_sampled']:,} rows)"
                axes.barh(places, values, height=width * 0.92, label=label)
            _name_rows(axes, _labels(names))
            _as_percent(axes)
            # Beside the axes, so that it never hides a bar.
            axes.legend(title=dimension, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        last = np.atleast_1d(all_axes)
        last[-1].set_xlabel(
            f"share of the mean absolute contribution; below a regime's top {_top(top)}: no bar"
        )
        _title(figure, "What the model looks at, by regime", caption)
    return ["regimes.png"]


def _waterfall(folder: Path, found: Attribution, one: Document, caption: str) -> str:
    """From the expected value at the bottom to the row's raw score at the top, largest step last.

    Not shap's own: that one (0.51) draws the arrow of a small contribution against its sign.
    """
    place = int(np.flatnonzero(found.sample.indices == one["row"])[0])
    values = dict(zip(found.features, found.matrix[place], strict=True))
    steps = list(one["contributions"].items())
    shown, rest = steps[:_STEPS], [step for _, step in steps[_STEPS:]]
    names = [f"{_label(name)} = {_number(values[name])}" for name, _ in shown]
    sizes = np.array([step for _, step in shown])
    if rest:
        names.append(f"{len(rest)} other features")
        sizes = np.append(sizes, sum(rest))
    ends = one["expected"] + np.cumsum(sizes[::-1])[::-1]
    with _figure(folder / "waterfall.png", 9, 2.4 + 0.4 * len(names)) as (figure, axes):
        places = np.arange(len(names))
        colors = np.where(sizes >= 0, _UP, _DOWN)
        axes.barh(places, sizes, left=ends - sizes, height=0.7, color=colors)
        axes.vlines(ends[1:], places[1:] - 1.35, places[1:] + 0.35, color="#999999", lw=0.6, ls="--")
        for row, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            told = f"{size:+.3g}" if size else "0"
            axes.annotate(
                told, (end, row), (4 if size >= 0 else -4, 0), textcoords="offset points",
                ha="left" if size >= 0 else "right", va="center", fontsize=9, color=colors[row],
            )  # fmt: skip
        axes.axvline(one["expected"], color="#555555", lw=0.8, ls=":", zorder=0)
        axes.axvline(one["raw_score"], color="#555555", lw=0.8, zorder=0)
        low, high = min(*ends, *(ends - sizes)), max(*ends, *(ends - sizes))
        room = 0.16 * ((high - low) or 1.0)  # for the numbers beside the bars
        axes.set_xlim(low - room, high + room)
        _name_rows(axes, names)
        score = "raw score" + (f" of {_label(one['output'])}" if one["predicted"] else "")
        axes.set_xlabel(
            f"{score}: expected {one['expected']:.4g} (dotted), of this row {one['raw_score']:.4g} (line)"
        )
        _title(figure, _told(one), caption)
    return "waterfall.png"


def _told(one: Document) -> str:
    """Which row a waterfall shows, and how it was chosen."""
    keys = one["keys"]
    who = _escaped(" ".join(keys[name] for name in ("symbol", "event_time") if keys.get(name)))
    row = f"{who or 'row'} (row {one['row']:,})"
    kind = one["prediction_is"]
    number = f"{one['prediction']:.1%}" if kind == "probability" else f"{one['prediction']:.4g}"
    predicted = (
        f"{_label(one['predicted'])} with {kind} {number}" if one["predicted"] else f"predicted {number}"
    )
    return f"{row}\n{predicted}: {one['chosen_as']}"


def _caption(subject: Subject, size: str) -> str:
    parts = [
        f"model {subject.model_version}" if subject.model_version else "",
        subject.exchange or "",
        f"dataset {subject.dataset['name']}" if subject.dataset else "",
        size,
    ]
    return textwrap.fill(_escaped(" · ".join(part for part in parts if part)), 95)


def _title(figure: Figure, title: str, caption: str) -> None:
    """What is shown above, of which model and data below; their width takes no room from the axes."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=9, color="#555555")


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _as_percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _ranked(dimension: str, by_regime: Document) -> dict[str, Document]:
    return {
        name.partition("=")[2]: one
        for name, one in by_regime.items()
        if name.partition("=")[0] == dimension and one["ranked"]
    }


def _largest(ranked: Mapping[str, Document]) -> list[str]:
    """The features that have the largest share in any regime."""
    best: dict[str, float] = {}
    for one in ranked.values():
        for entry in one["top"]:
            best[entry["feature"]] = max(best.get(entry["feature"], 0.0), entry["share"])
    return sorted(best, key=lambda name: (-best[name], name))[:_SHOWN_BY_REGIME]


def _top(top: Document) -> int:
    return max(len(one["top"]) for one in top["by_regime"].values())


def _top_of(shown: int, features: int) -> str:
    return f", the first {shown} of {features} by gain" if shown < features else ""


def _file_names(outputs: Sequence[str]) -> list[str]:
    """A name an output that any file system takes; numbered where two would be the same."""
    plain = [re.sub(r"[^A-Za-z0-9-]", "_", name)[:40] or "_" for name in outputs]
    lower = [name.lower() for name in plain]
    return [
        f"beeswarm_{name}.png" if lower.count(name.lower()) == 1 else f"beeswarm_{number}_{name}.png"
        for number, name in enumerate(plain)
    ]


def _labels(names: Sequence[str]) -> list[str]:
    return [_label(name) for name in names]


def _label(name: str) -> str:
    """A name short enough for an axis, and free of matplotlib's mathematics."""
    return _escaped(name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}..")


def _number(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:.4g}"


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")
