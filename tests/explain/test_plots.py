"""Plots: complete, readable, and without a trace in matplotlib's and numpy's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from matplotlib import image
from small_models import CLASSES, FEATURES, SETTINGS, small_booster, small_labels, small_matrix, small_rows

from explain.regimes import learn
from explain.reports import Reports, write_reports

MATRIX = small_matrix(400)
LONG = "a_feature_of_the_team_whose_name_does_not_want_to_end_anywhere_at_all"


def write(booster: lgb.Booster, folder: Path, **changed: Any) -> Reports:
    arguments: dict[str, Any] = {
        "rows": small_rows(MATRIX), "features": FEATURES, "classes": CLASSES,
        "regimes": learn(FEATURES, MATRIX), "labels": small_labels(MATRIX), "sample_rows": 200,
    }  # fmt: skip
    return write_reports(booster, folder=folder, **arguments | changed)


def test_plots_are_drawn_without_pyplot_s_state(tmp_path: Path) -> None:
    """No backend is chosen, no figure is left, no setting and no random number is taken."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    np.random.seed(11)
    expected = np.random.random(3)
    np.random.seed(11)
    before = mpl.rcParams.copy()
    open_before = plt.get_fignums()
    write(small_booster(MATRIX), tmp_path / "reports")
    assert plt.get_fignums() == open_before
    assert {name: before[name] for name in before} == {name: mpl.rcParams._get(name) for name in before}  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_plots_have_no_edge_that_cuts_a_label(tmp_path: Path) -> None:
    """Long names, mathematics in names, class names that are no file names: the margins stay white."""
    names = ["$vix^2$", LONG, "é ß", *FEATURES[3:]]
    rows = small_rows(MATRIX).rename_columns([*small_rows(MATRIX).column_names[:4], *names])
    found = write(
        small_booster(MATRIX), tmp_path / "reports", rows=rows, features=names, regimes=learn(names, MATRIX),
        classes=("BUY/NOW", "buy:now", "$SELL$ everything that there is as fast as you can"),
        model_version="a model with a very long name " * 6, dataset={"name": "$d$", "content_digest": "x"},
    )  # fmt: skip
    assert {"beeswarm_0_BUY_NOW.png", "beeswarm_1_buy_now.png"} < set(found.files)
    for name in [name for name in found.files if name.endswith(".png")]:
        picture = image.imread(found.folder / name)[:, :, :3]
        assert 700 < picture.shape[1] < 1_800, name
        assert picture.min() < 0.5, name
        for edge in (picture[:5], picture[-5:], picture[:, :5], picture[:, -5:]):
            assert (edge == 1).all(), name


def test_of_many_classes_those_that_move_most_get_a_beeswarm(tmp_path: Path) -> None:
    target = np.random.default_rng(0).integers(0, 8, len(MATRIX))
    settings = SETTINGS | {"num_class": 8, "num_leaves": 3}
    booster = lgb.train(settings, lgb.Dataset(MATRIX, target), 2)
    names = [str(k) for k in range(8)]
    found = write(booster, tmp_path / "reports", classes=names, labels=target)
    drawn = [name for name in found.files if name.startswith("beeswarm")]
    sizes = {k: sum(one[k]["mean_abs"] for one in found.summary["features"].values()) for k in names}
    largest = sorted(names, key=lambda k: -sizes[k])[:5]
    assert drawn == [f"beeswarm_{k}.png" for k in sorted(largest)]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_single_row_can_be_drawn(tmp_path: Path, rows: int) -> None:
    found = write(
        small_booster(MATRIX), tmp_path / "reports", rows=small_rows(MATRIX)[:rows], labels=None, regimes=()
    )
    assert "waterfall.png" in found.files
