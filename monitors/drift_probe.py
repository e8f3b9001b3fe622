"""Drift as a metric: how many features of the model in use have drifted, by the scores that are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from lake.errors import ModelNotFoundError
from monitors.metrics import Sample
from monitors.probes import Moment, Probe, Surroundings

_METRICS = ("drifted_features", "attribution_drifted_features")
_NAMED = 10
"""Features that an alert's evidence names."""


def drift_probe() -> Probe:
    """The probe of the recorded scores; it works none out, which takes longer than a check may."""
    return Probe("drift", _METRICS, _measure)


def _measure(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    from monitors.drift_model import model_in_use

    session = around.session
    if not {"drift_scores", "attribution"} & set(session.snapshots):
        return [Sample(name, moment.exchange, None, why="no drift is recorded") for name in _METRICS]
    try:
        model = model_in_use(around.settings.models_dir, moment.exchange)
    except ModelNotFoundError as error:
        return [Sample(name, moment.exchange, None, why=str(error)) for name in _METRICS]
    from monitors.attribution_breaches import attribution_breaches, attribution_scores
    from monitors.drift_breaches import find_breaches
    from monitors.drift_record import recent_scores
    from monitors.evidently_report import newest_report

    html = newest_report(around.settings.reports_dir / "drift", moment.exchange, "drift")
    known = {
        "model_version": model.model_version, "dataset": model.dataset,
        "report": None if html is None else str(html.resolve()),
    }  # fmt: skip
    scores = recent_scores(session, moment.exchange, model.dataset, at=moment.seen.astimezone(UTC))
    attributions = attribution_scores(
        session, moment.exchange, model.model_version, model.dataset, around.calendar
    )
    asked = [score for score in attributions if score.score is not None]
    return [
        _sample(_METRICS[0], moment, bool(scores), find_breaches(scores), known),
        _sample(_METRICS[1], moment, bool(asked), attribution_breaches(asked), known),
    ]


def _sample(
    metric: str, moment: Moment, measured: bool, breaches: Sequence[Any], known: dict[str, Any]
) -> Sample:
    """How many features have drifted; none that could be judged is no pass."""
    from monitors.drift_breaches import worst_features

    if not measured:
        return Sample(metric, moment.exchange, None, why="no score is recorded of the model in use")
    named = [
        {
            "symbol": one.symbol, "feature": one.feature, "methods": list(one.methods),
            "since": one.since.isoformat(), "score": one.scores[0].score,
            "threshold": one.scores[0].threshold,
        }
        for one in breaches[:_NAMED]
    ]  # fmt: skip
    facts = {**known, "worst": worst_features(breaches) or None, "features": named}
    return Sample(metric, moment.exchange, float(len(breaches)), facts=facts)
