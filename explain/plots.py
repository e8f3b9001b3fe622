"""The plots of a report, as PNG files. Drawn without a window, and without a trace in pyplot's state."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    import matplotlib as mpl
    import matplotlib.style
    from matplotlib import pyplot as plt

    interactive = mpl.is_interactive()
    random = np.random.get_state()  # noqa: NPY002 - shap scatters the dots of a beeswarm with this one
    try:
        with matplotlib.style.context("default"), warnings.catch_warnings():
            # A feature that no row has is drawn in grey; shap still asks for the range of its values.
            warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
            np.random.seed(0)  # noqa: NPY002 - likewise
            yield
    finally:
        np.random.set_state(random)  # noqa: NPY002 - likewise
        if interactive:
            plt.ion()  # shap.plots.waterfall turns it off


@contextmanager
def _figure(
    file: Path,
    width: float,
    height: float,
    *,
    rows: int = 1,
    layout: Literal["constrained", "none"] = "constrained",
) -> Iterator[tuple[Figure, Any]]:
    """A figure of its own, the current one for pyplot while it is drawn; then saved and forgotten.

    shap draws on pyplot's current figure. Making that with `pyplot.figure` would choose a backend, and open
    a window or fail without a display, so the figure gets a manager of the Agg canvas.
    """
    from matplotlib import _pylab_helpers
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    before = _pylab_helpers.Gcf.get_all_fig_managers()
    number = 1 + max((int(manager.num) for manager in before), default=0)
    manager = FigureCanvasAgg.new_manager(figure, number)
    _pylab_helpers.Gcf.set_active(manager)
    try:
        yield figure, figure.subplots(rows)
        # Cropped to what is drawn, so that a long name is never cut; the date of a PNG would differ each run.
        figure.savefig(file, dpi=_DPI, bbox_inches="tight", pad_inches=0.2, metadata={"Software": None})
    finally:
        _pylab_helpers.Gcf.destroy(manager)


def _importance(folder: Path, importance: Document, caption: str) -> str:
    names = list(importance["gain"])[:SHOWN]
    with _figure(folder / "importance.png", 9, 1.8 + 0.34 * len(names)) as (_, axes):
        places = np.arange(len(names))
        for offset, kind, told, color in (
            (-0.2, "gain", "gain (how much splits on it lowered the loss)", "#1f77b4"),
            (0.2, "split", "split (how often trees split on it)", "#b0b0b0"),
        ):
            shares = [importance[kind][name] for name in names]
            axes.barh(places + offset, shares, height=0.38, color=color, label=told)
        _name_rows(axes, names)
        _as_percent(axes)
        axes.set_xlabel("share of all features")
        axes.legend(loc="lower right", frameon=False)
        _title(axes, f"Feature importance{_top_of(len(names), len(importance['gain']))}", caption)
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
        with _figure(folder / names[k], 9, 2.2 + 0.4 * shown) as (_, axes):
            shap.plots.beeswarm(
                explanation, max_display=shown, order=np.argsort(-magnitudes[k], kind="stable"),
                ax=axes, show=False, plot_size=None, s=10,
            )  # fmt: skip
            axes.tick_params(axis="y", labelsize=10)
            axes.tick_params(axis="x", labelsize=9)
            axes.set_xlabel(f"{_RAW} of {_label(found.outputs.names[k])}; a dot a row", fontsize=10)
            _title(axes, f"What moves {_label(found.outputs.names[k])}", caption)
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
    with _figure(folder / "regimes.png", 9, height, rows=len(panels)) as (_, all_axes):
        for axes, (dimension, ranked) in zip(np.atleast_1d(all_axes), panels.items(), strict=True):
            names = shown[dimension]
            width = 0.8 / len(ranked)
            for i, (regime, one) in enumerate(ranked.items()):
                shares = {entry["feature"]: entry["share"] for entry in one["top"]}
                places = np.arange(len(names)) - 0.4 + width * (i + 0.5)
                values = [shares.get(name, 0.0) for name in names]
                label = f"{regime} ({one['rows_sampled']:,} rows)"
                axes.barh(places, values, height=width * 0.92, label=label)
            _name_rows(axes, names)
            _as_percent(axes)
            # Beside the axes, so that it never hides a bar.
            axes.legend(title=dimension, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        last = np.atleast_1d(all_axes)
        last[-1].set_xlabel(
            f"share of the mean absolute contribution; below a regime's top {_top(top)}: no bar"
        )
        _title(last[0], "What the model looks at, by regime", caption)
    return ["regimes.png"]


def _waterfall(folder: Path, found: Attribution, one: Document, caption: str) -> str:
    import shap

    place = int(np.flatnonzero(found.sample.indices == one["row"])[0])
    output = found.outputs.names.index(one["output"])
    explanation = shap.Explanation(
        values=found.values[place, output],
        base_values=found.expected[output],
        data=found.matrix[place],
        feature_names=_labels(found.features),
    )
    # shap fits the numbers to the arrows as it draws: the layout may not move afterwards.
    with _figure(folder / "waterfall.png", 8, 7, layout="none") as (figure, _):
        shap.plots.waterfall(explanation, max_display=12, show=False)
        figure.axes[0].tick_params(labelsize=10)
        _title(figure.axes[0], _told(one), caption, pad=38)
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
    told = f"{row}\n{predicted}: {one['chosen_as']}\n{_RAW}"
    return told + (f" of {_label(one['output'])}" if one["predicted"] else "")


def _caption(subject: Subject, size: str) -> str:
    parts = [
        f"model {subject.model_version}" if subject.model_version else "",
        subject.exchange or "",
        f"dataset {subject.dataset['name']}" if subject.dataset else "",
        size,
    ]
    return textwrap.fill(_escaped(" · ".join(part for part in parts if part)), 95)


def _title(axes: Axes, title: str, caption: str, *, pad: float = 8) -> None:
    axes.set_title(caption, fontsize=9, color="#555555", loc="left", pad=pad)
    lines = caption.count("\n") + 1
    axes.annotate(
        title, (0, 1), (0, pad + 11 * lines + 6), xycoords="axes fraction", textcoords="offset points",
        fontsize=12, fontweight="bold", va="bottom",
    )  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), _labels(names))
    axes.set_ylim(len(names) - 0.45, -0.55)
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


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")
