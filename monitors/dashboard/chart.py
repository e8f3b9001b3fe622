"""A chart as data, which `static/charts.js` draws with uPlot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

Kind = Literal["time", "number", "category"]
Style = Literal["line", "bars", "points", "step"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of bars.

    Attributes:
        label: For the legend.
        values: As many as the chart has places; None is a gap.
        unit: Written behind a value.
        style: How it is drawn.
        scale: Series of one name share a y axis; `y` is the left one, `y2` the right one.
    """

    label: str
    values: Sequence[float | None]
    unit: str = ""
    style: Style = "line"
    scale: str = "y"


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at a place of the x axis, with its name."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn.

    Attributes:
        title: What it shows, also for who cannot see it.
        x: Places: moments (seconds since 1970, UTC), numbers, or names.
        series: What is drawn over them.
        kind: What the places are.
        marks: Vertical lines, e.g. the price of the underlying.
        x_label: What the places are, for axis and table.
        height: Pixels.
    """

    title: str
    x: Sequence[Any]
    series: Sequence[Series]
    kind: Kind = "number"
    marks: Sequence[Mark] = ()
    x_label: str = ""
    height: int = 260

    def as_json(self) -> str:
        """JSON for `data-chart`, or as the answer at `data-chart-src`; NaN and infinity are gaps."""
        document = {
            "title": self.title,
            "kind": self.kind,
            "x": [_place(value) for value in self.x],
            "x_label": self.x_label,
            "height": self.height,
            "marks": [{"at": mark.at, "label": mark.label} for mark in self.marks],
            "series": [
                {
                    "label": one.label, "unit": one.unit, "style": one.style, "scale": one.scale,
                    "values": [_finite(value) for value in one.values],
                }
                for one in self.series
            ],
        }  # fmt: skip
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _place(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    return value.isoformat() if isinstance(value, date) else value


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
