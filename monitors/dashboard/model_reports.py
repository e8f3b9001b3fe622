"""The reports of a model as `strikelake explain` writes them, read as JSON: the files are the interface.

Their forms are in `explain/schemas/`; what is shown is checked here, what is not shown is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

IMPORTANCE, TOP, SUMMARY = "feature_importance.json", "shap_top_features.json", "shap_summary.json"
MAX_BYTES = 20_000_000
"""A report of a thousand features has two megabytes."""

_PLOT = re.compile(r"beeswarm(?:_(?P<output>[^/\\:]+))?\.png")

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Source(BaseModel):
    """The dataset that the rows are of."""

    name: str
    content_digest: str


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    model_version: str | None
    exchange: str | None
    dataset: Source | None
    created_at: datetime
    iterations: int


class Importance(_Report):
    """How the trees use each feature."""

    form: Literal["strikelake/feature_importance/1"] = Field(alias="schema")
    gain: dict[str, Share]
    split: dict[str, Share]


class Ranked(BaseModel):
    """A feature of a ranking: its mean absolute contribution, and its share of all of them."""

    feature: str
    mean_abs: Annotated[FiniteFloat, Field(ge=0)]
    share: Share


class RegimeRanking(BaseModel):
    """The ranking over the rows of one regime."""

    rows: int
    rows_sampled: int
    ranked: bool
    reason: str | None
    top: list[Ranked]


class Sample(BaseModel):
    """Rows whose contributions were computed, of how many."""

    rows: int
    of_rows: int


class TopFeatures(_Report):
    """Rankings by SHAP: over all rows, by class, by regime."""

    form: Literal["strikelake/shap_top_features/1"] = Field(alias="schema")
    sample: Sample
    overall: list[Ranked] = Field(alias="global")
    by_class: dict[str, list[Ranked]]
    by_regime: dict[str, RegimeRanking]


class Quantiles(BaseModel):
    """Quantiles of a feature's contributions."""

    q05: FiniteFloat = Field(alias="0.05")
    q25: FiniteFloat = Field(alias="0.25")
    q50: FiniteFloat = Field(alias="0.5")
    q75: FiniteFloat = Field(alias="0.75")
    q95: FiniteFloat = Field(alias="0.95")


class Spread(BaseModel):
    """How the contributions of a feature to an output are spread."""

    mean_abs: Annotated[FiniteFloat, Field(ge=0)]
    quantiles: Quantiles


class Summary(_Report):
    """How contributions are spread, and whether they add up."""

    form: Literal["strikelake/shap_summary/1"] = Field(alias="schema")
    outputs: list[str]
    additivity_error: Annotated[FiniteFloat, Field(ge=0)]
    features: dict[str, dict[str, Spread]]


R = TypeVar("R", bound=_Report)


@dataclass(frozen=True, slots=True)
class Document(Generic[R]):
    """One file.

    Attributes:
        path: Where it is.
        state: `read`, `missing` or `damaged`.
        problem: What is wrong with it, empty if nothing.
        report: What it says, None unless it was read.
    """

    path: Path
    state: Literal["read", "missing", "damaged"]
    problem: str = ""
    report: R | None = None


@dataclass(frozen=True, slots=True)
class ModelReports:
    """The reports of the model of one exchange.

    Attributes:
        folder: Where they are.
        importance: How the trees use features.
        top: Rankings by SHAP.
        summary: How contributions are spread.
        plots: Beeswarms by output, `all` where there is one for all; the files beside the reports.
    """

    folder: Path
    importance: Document[Importance]
    top: Document[TopFeatures]
    summary: Document[Summary]
    plots: Mapping[str, Path]


def reports_folder(models: Path, exchange: str) -> Path:
    """Where the reports of an exchange are."""
    return models / exchange / "reports"


def read_reports(models: Path, exchange: str) -> ModelReports:
    """All reports of an exchange; whatever is wrong with one is told, not raised."""
    folder = reports_folder(models, exchange)
    return ModelReports(
        folder,
        _read(folder / IMPORTANCE, Importance),
        _read(folder / TOP, TopFeatures),
        _read(folder / SUMMARY, Summary),
        beeswarms(folder),
    )


def beeswarms(folder: Path) -> dict[str, Path]:
    """Beeswarm plots by output."""
    found = {}
    for file in sorted(folder.glob("beeswarm*.png")):
        named = _PLOT.fullmatch(file.name)
        if named is not None:
            found[named["output"] or "all"] = file
    return found


def _read(path: Path, form: type[R]) -> Document[R]:
    try:
        # One byte more tells that there are more.
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Document(path, "missing", f"there is no {path.name}")
    except OSError as error:
        return Document(path, "damaged", f"{path}: {error.strerror or error}")
    if len(content) > MAX_BYTES:
        return Document(path, "damaged", f"{path} has more than {MAX_BYTES:,} bytes")
    try:
        return Document(path, "read", report=form.model_validate_json(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        return Document(path, "damaged", f"{path}: {where}: {first['msg']}{more}")
