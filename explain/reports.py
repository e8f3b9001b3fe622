"""The reports of a model: importance, contributions and their ranking by regime, as JSON and as plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from explain.attribution import Attribution, Codes, attribute, outputs_of
from explain.interactions import interactions_body
from explain.plots import draw_plots
from explain.regimes import Dimension
from explain.replaced_folder import replaced_folder
from explain.report_documents import (
    DOCUMENTS,
    INTERACTIONS,
    Document,
    Subject,
    importance_document,
    summary_document,
    to_text,
    top_features_document,
    waterfall_document,
)

if TYPE_CHECKING:
    import lightgbm as lgb

PATTERNS = (
    *(f"{name}.json" for name in DOCUMENTS),
    f"{INTERACTIONS}.json",
    "importance.png",
    "beeswarm_*.png",
    "regimes.png",
    "waterfall.png",
)
"""Names of the files of a report; what else lies in its folder is left alone."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What was written.

    Attributes:
        folder: Where.
        files: Names, in the order of writing.
        importance: As in `feature_importance.json`.
        summary: As in `shap_summary.json`.
        top_features: As in `shap_top_features.json`.
    """

    folder: Path
    files: tuple[str, ...]
    importance: Document
    summary: Document
    top_features: Document


def write_reports(
    booster: lgb.Booster,
    rows: pa.Table,
    features: Sequence[str],
    classes: Sequence[str],
    regimes: Sequence[Dimension],
    folder: Path,
    *,
    labels: Codes | None = None,
    model_version: str | None = None,
    dataset: Mapping[str, Any] | None = None,
    seed: int = 7,
    sample_rows: int = 2000,
    progress: Callable[[int], None] | None = None,
    created_at: datetime | None = None,
    interactions: bool = False,
) -> Reports:
    """Write a model's reports, all of them or none: a run that fails leaves the earlier ones as they were.

    The same model, rows and seed give the same numbers. If the model knows its `best_iteration` (it was
    trained with early stopping and has not been saved since), trees after it count nowhere: neither in
    importance nor in contributions, as in LightGBM's `predict`.

    Args:
        booster: The model.
        rows: Its features and what the regimes look at, as numbers, null where missing; of `KEYS` those it
            has. See `explain.frame.TrainingFrame.rows`.
        features: Names of the columns in the order of the model's inputs.
        classes: Names in the order of its outputs; two of a binary model, none of a regression.
        regimes: Ways of telling regimes apart.
        folder: Where to write; made if it is not there. See `replaced_folder` for what else may be in it.
        labels: The class of each row, as its number in `classes`: the sample is stratified by it, and by
            the predicted class if there are none.
        model_version: Of the model.
        dataset: What the rows are: name and content_digest (more is ignored).
        seed: Of the sample.
        sample_rows: Rows whose contributions are computed, at most.
        progress: Called with the number of rows of the sample just done, `min(rows, sample_rows)` in all.
        created_at: When, with zone; now by default.
        interactions: Write `shap_interactions.json` too; see `explain.interactions`.

    Raises:
        NotEnoughDataError: There is no row.
        SchemaMismatchError: Rows, labels or classes do not fit the model.
        ModelNotReadableError: LightGBM has no contributions for such a model.
        ReportsInUseError: Another process writes there, or a file there is open (Windows).
        OSError: The folder cannot be written.
    """
    with replaced_folder(folder, PATTERNS) as draft:
        outputs = outputs_of(booster, classes)
        found = attribute(
            booster, rows, tuple(features), outputs, regimes,
            labels=labels, seed=seed, sample_rows=sample_rows, progress=progress,
        )  # fmt: skip
        subject = Subject(
            model_version=model_version,
            exchange=_exchange(rows),
            dataset=_dataset(dataset),
            created_at=created_at or datetime.now(UTC),
            iterations=booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration(),
        )
        documents = {
            "feature_importance": importance_document(booster, features, subject),
            "shap_summary": summary_document(found, subject, waterfall_document(found, rows)),
            "shap_top_features": top_features_document(found, regimes, subject),
        }
        if interactions:
            documents[INTERACTIONS] = subject.head(INTERACTIONS) | interactions_body(booster, found)
        return _write(draft, folder, found, documents, subject)


def _write(
    draft: Path, folder: Path, found: Attribution, documents: Mapping[str, Document], subject: Subject
) -> Reports:
    files = [f"{name}.json" for name in documents]
    for name, document in documents.items():
        (draft / f"{name}.json").write_text(to_text(document), encoding="utf-8", newline="\n")
    files += draw_plots(draft, found, documents, subject)
    return Reports(folder, tuple(files), *(documents[name] for name in DOCUMENTS))


def _exchange(rows: pa.Table) -> str | None:
    if "exchange" not in rows.column_names:
        return None
    found = pc.unique(rows.column("exchange")).to_pylist()
    return str(found[0]) if len(found) == 1 and found[0] is not None else None


def _dataset(dataset: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if dataset is None else {name: str(dataset[name]) for name in ("name", "content_digest")}
