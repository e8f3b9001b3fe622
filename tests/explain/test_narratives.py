"""No narrative says more than the attributions, nor against them: an independent reader checks each one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_models import FEATURES, rows_of, write_small_model

from explain.narratives import TopFeature, narrative, phrase
from explain.signals import SignalGenerator

AT = datetime(2026, 10, 26, 6, 30, tzinfo=UTC)
CLASSES = ("BUY", "HOLD", "SELL")
LEAN = re.compile(
    r"[Tt]he model (?:barely )?(leans bullish|leans bearish|sees no clear move|is undecided), "
    r"(BUY|HOLD|SELL) (\d+)%"
)
WORDS = {"BUY": {"leans bullish"}, "SELL": {"leans bearish"}, "HOLD": {"sees no clear move", "is undecided"}}
REASON = re.compile(r"([^;:]+?) \((for|against)\)")
LABELS = {
    "return_3m": "3m return", "vix": "vix", "trend": "15m trend", "days_to_expiry": "days to expiry",
    "call_oi_change_3m": "3m call oi", "put_oi_change_15m": "15m put oi", "pcr_oi": "pcr by oi",
    "atm_iv": "atm iv", "app_rsi": "app rsi", "session_elapsed": "session elapsed",
}  # fmt: skip
Model = tuple[SignalGenerator, SignalGenerator, lgb.Booster]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    found = []
    for seed in range(6):
        folder = write_small_model(
            tmp_path_factory.mktemp("models"), seed, rounds=1 + 5 * seed, learns=seed != 5
        )
        booster = lgb.Booster(model_file=str(folder / "model.txt"))
        exact, context = (
            SignalGenerator(folder, depth=depth, allow_missing=True) for depth in ("exact", "context")
        )
        found.append((exact, context, booster))
    return found


def read(text: str) -> tuple[str, str, int, list[tuple[str, str]]]:
    """What a narrative claims: lean, class, percentage, and (label, for or against) of each reason."""
    (lean,) = LEAN.finditer(text)
    claims = text.replace("No single reason stands out; ", "")
    return lean[1], lean[2], int(lean[3]), [(r[1].strip().lower(), r[2]) for r in REASON.finditer(claims)]


@settings(max_examples=300, deadline=None)
@given(model=st.integers(0, 5), seed=st.integers(0, 2**31), scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_no_narrative_contradicts_the_attributions_or_the_class(
    models: list[Model], model: int, seed: int, scale: float
) -> None:
    exact, context, booster = models[model]
    row = rows_of(1, seed)[0] * scale
    values = dict(zip(FEATURES, row.tolist(), strict=True))
    signal = exact.generate_signal(values, event_time=AT, symbol="NIFTY")
    told = signal.metadata["narrative"]

    shares = np.asarray(booster.predict(row[None, :]))[0]
    chosen = int(shares.argmax())
    flat = np.asarray(booster.predict(row[None, :], pred_contrib=True))[0].reshape(3, -1)
    mine = dict(zip(FEATURES, flat[chosen, :-1].tolist(), strict=True))
    lean, name, percent, reasons = read(told)
    assert name == CLASSES[chosen]
    assert lean in WORDS[name]
    assert percent == round(100 * shares[chosen])
    # All of the strongest three are told, so that silence is no way to contradict nothing.
    by_size = sorted((n for n in mine if mine[n]), key=lambda n: -abs(mine[n]))[:3]
    assert by_size == [which(label) for label, _ in reasons]
    assert ("No feature speaks for or against it" in told) == (not by_size)
    for label, side in reasons:
        assert (mine[which(label)] > 0) == (side == "for")
    assert_values_are_told_rightly(told, values)
    if reasons and "No single reason stands out" not in told:
        assert most_moved(mine[by_size[0]]) >= 0.01

    short = context.generate_signal(values, event_time=AT).metadata["narrative"]
    assert not REASON.search(short)
    assert "for it" not in short
    assert LEAN.search(short)
    if ";" in short or "," in short.partition("%")[2]:
        assert "Context, not an explanation" in short


def most_moved(step: float) -> float:
    """How far a step of a class's score moves a probability, wherever it would be felt most."""
    scores = np.linspace(-3, 3, 6001)

    def logistic(score: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 1 / (1 + np.exp(-score))

    return float(np.abs(logistic(scores + step) - logistic(scores)).max())


def which(label: str) -> str:
    """The feature that a reason speaks of."""
    found = [name for name, words in LABELS.items() if label.startswith(words)]
    return max(found, key=lambda name: len(LABELS[name]))


def assert_values_are_told_rightly(told: str, values: dict[str, float]) -> None:
    """Signs and sizes of the numbers, by the units of the features' definitions."""
    for label, name, scale in (("3m call OI", "call_oi_change_3m", 100), ("3m return", "return_3m", 100)):
        found = re.search(rf"{label} ([+-][\d.,]+)%", told, re.IGNORECASE)
        if found:
            number = float(found[1].replace(",", ""))
            assert number == pytest.approx(scale * values[name], abs=0.051)
            assert (number > 0) == (values[name] > 0)


def feature(name: str, value: float | None, contribution: float | None, **more: Any) -> TopFeature:
    given = {"z": 0.0, "magnitude": 0.4, **more}
    return TopFeature(name, value, given["z"], given["magnitude"], contribution)


SHARES = {"BUY": 0.2, "HOLD": 0.18, "SELL": 0.62}


def test_it_reads_as_a_trader_speaks() -> None:
    reasons = [
        feature("call_oi_change_3m", 0.1, 0.4, z=2.0),
        feature("vix", 18.2, 0.2, z=1.4),
        feature("return_15m", 0.004, -0.1, z=0.2),
        feature("pcr_oi", 1.0, 0.05),
    ]
    assert narrative("SELL", SHARES, reasons, explained=True) == (
        "3m call OI +10.0% (for); VIX 18.2, high (for); 15m return +0.40% (against): "
        "the model leans bearish, SELL 62%."
    )


def test_one_that_cannot_speak_plainly_says_so() -> None:
    opposed = [feature("vix", 14.0, -0.4), feature("trend", 1.0, 0.1)]
    faint = [feature("vix", 14.0, 0.4, magnitude=0.05)]
    # The largest of ten that add next to nothing: four tenths of all that is said, and no reason.
    whisper = [feature("vix", 14.0, 0.003), feature("trend", 1.0, 0.001, magnitude=0.1)]
    for reasons in (opposed, faint, whisper):
        assert narrative("SELL", SHARES, reasons, explained=True).startswith("No single reason stands out; ")
    least = [feature("vix", 14.0, 0.041)]
    assert narrative("SELL", SHARES, least, explained=True).startswith("VIX 14.0, usual (for): ")
    nothing = narrative("SELL", SHARES, [feature("vix", 14.0, 0.0)], explained=True)
    assert nothing.startswith("No feature speaks for or against it: the model leans bearish")
    even = {"BUY": 0.33, "HOLD": 0.33, "SELL": 0.34}
    assert "barely leans bearish" in narrative("SELL", even, faint, explained=True)
    assert "is undecided" in narrative("HOLD", even, faint, explained=True)


@pytest.mark.parametrize(
    ("name", "value", "z", "told"),
    [
        ("call_oi_change_3m", 0.1, 1.0, "3m call OI +10.0%"),
        ("put_oi_change_5m", -0.0004, -1.0, "5m put OI flat"),
        ("call_volume_change_15m", 0.32, 1.0, "15m call volume, of OI, 32%, high"),
        ("return_5m", -0.00123, -1.0, "5m return -0.12%"),
        ("vix_change_15m", 0.05, 0.1, "15m VIX +0.05 points"),
        ("atm_iv", 0.135, 0.0, "ATM IV 13.5%, usual"),
        ("atm_iv_change_15m", 0.008, 2.0, "15m ATM IV +0.8 vol points"),
        ("max_pain_distance", -0.0052, -1.0, "max pain to spot -0.52%"),
        ("trend", -1.34, -1.3, "15m trend -1.3 expected moves"),
        ("session_elapsed", 0.5, None, "session elapsed 50%"),
        ("app_rsi", 61.234, 1.0, "app rsi 61.23, high"),
        ("vix", None, None, "VIX missing"),
    ],
)
def test_direction_and_size_are_in_the_units_of_the_feature(
    name: str, value: float | None, z: float | None, told: str
) -> None:
    assert phrase(feature(name, value, 0.1, z=z)) == told


def test_no_narrative_needs_a_known_feature(tmp_path: Path) -> None:
    names = ("Alpha_1", "β", "x y")
    folder = write_small_model(tmp_path, 3, features=names)
    signal = SignalGenerator(folder).generate_signal({"Alpha_1": 1.0, "β": 2.0, "x y": 3.0}, event_time=AT)
    assert LEAN.search(signal.metadata["narrative"])
