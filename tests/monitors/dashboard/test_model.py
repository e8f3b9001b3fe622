"""The section Model: figures of the reports and recorded signals, and what is said where there are none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_client import browsing, text_of
from health_lake import DAY, NOW, HealthLake
from litestar.testing import TestClient

from catalog.contracts import SIGNALS

SPITEFUL = "<script>alert(1)</script>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
Page = TestClient[Any]

HEAD = {
    "model_version": "m1", "exchange": "NSE", "dataset": {"name": "autumn", "content_digest": "0" * 32},
    "created_at": "2026-10-25T18:00:00+05:30", "iterations": 40,
}  # fmt: skip


def ranked(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    total = sum(value for _, value in pairs)
    return [{"feature": name, "mean_abs": value, "share": value / total} for name, value in pairs]


def importance() -> dict[str, Any]:
    gain = {"vix": 0.512, SPITEFUL: 0.3, "atm_iv": 0.188}
    return {"schema": "strikelake/feature_importance/1", **HEAD, "gain": gain,
            "split": {"atm_iv": 0.61, "vix": 0.25, SPITEFUL: 0.14}}  # fmt: skip


def top() -> dict[str, Any]:
    low = {"rows": 700, "rows_sampled": 600, "ranked": True, "reason": None,
           "top": ranked(("atm_iv", 3.0), ("vix", 1.0))}  # fmt: skip
    high = {"rows": 4, "rows_sampled": 4, "ranked": False, "reason": "fewer than 30 rows", "top": []}
    return {
        "schema": "strikelake/shap_top_features/1", **HEAD, "outputs": ["BUY"],
        "sample": {"rows": 604, "of_rows": 704}, "global": ranked(("vix", 0.031), ("atm_iv", 0.0103)),
        "by_class": {"BUY": ranked(("vix", 0.05), (SPITEFUL, 0.05))}, "regimes": [],
        "by_regime": {"vix=low": low, "vix=high": high},
    }  # fmt: skip


def summary() -> dict[str, Any]:
    quantiles = {"0.05": -0.0421, "0.25": -0.01, "0.5": 0.0123, "0.75": 0.02, "0.95": 0.0842}
    spread = {"mean": 0.0, "mean_abs": 0.02, "std": 0.1, "quantiles": quantiles}
    return {"schema": "strikelake/shap_summary/1", **HEAD, "outputs": ["BUY"], "additivity_error": 1e-15,
            "features": {"vix": {"BUY": spread}}}  # fmt: skip


def report(lake: HealthLake, name: str, document: dict[str, Any]) -> Path:
    path = lake.settings.models_dir / "NSE" / "reports" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def signal(minute: int, depth: str, **more: Any) -> dict[str, Any]:
    at = NOW - timedelta(minutes=minute)
    features = [
        {"name": "vix", "value": 13.25, "z": -1.5, "magnitude": 0.4, "contribution": 0.0512},
        {"name": "atm_iv", "value": None, "z": None, "magnitude": 0.2, "contribution": -0.0256},
    ]  # fmt: skip
    return {
        "date": DAY, "exchange": "NSE", "event_time": at, "received_time": at, "symbol": "NIFTY",
        "signal": "BUY", "confidence": 0.6125, "probabilities": {"BUY": 0.6125, "HOLD": 0.25, "SELL": 0.1375},
        "regime": {"vix": "low", "trend": "up", "expiry": "expiry_day"},
        "model_version": "m1", "dataset": "autumn",
        "dataset_digest": "0" * 32, "depth": depth, "top_features": features,
        "narrative": "VIX lifts it.", "source": "live", **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    lake = HealthLake(tmp_path_factory.mktemp("model"))
    report(lake, "feature_importance.json", importance())
    report(lake, "shap_top_features.json", top())
    path = report(lake, "shap_summary.json", summary())
    (path.parent / "beeswarm_BUY.png").write_bytes(PNG)
    (lake.settings.models_dir / "secret.png").write_bytes(b"not to be had")
    rows = [signal(1, "exact"), signal(2, "context"), signal(3, "none", top_features=[]),
            signal(4, "exact", symbol=SPITEFUL, narrative=SPITEFUL)]  # fmt: skip
    lake.commit(SIGNALS, rows)
    return lake


@pytest.fixture(scope="module")
def page(made: HealthLake) -> Iterator[Page]:
    with browsing(made.settings, NOW) as client:
        yield client


def test_importance_shows_gain_and_splits_of_the_file_by_falling_gain(made: HealthLake, page: Page) -> None:
    html = page.get("/model").text
    file = made.settings.models_dir / "NSE" / "reports" / "feature_importance.json"
    truth = json.loads(file.read_text(encoding="utf-8"))
    rows = re.findall(r"<tr><th[^>]*>(.*?)</th><td class=\"n\">(.*?)</td><td class=\"n\">(.*?)</td>", html)
    by_gain = sorted(truth["gain"], key=lambda name: -truth["gain"][name])
    assert [text_of(name) for name, *_ in rows] == by_gain
    for name, gain, split in rows:
        feature = text_of(name)
        assert (gain, split) == (
            f"{100 * truth['gain'][feature]:.1f}", f"{100 * truth['split'][feature]:.1f}"
        )  # fmt: skip


def test_shap_shows_rankings_overall_by_class_and_by_regime(page: Page) -> None:
    text = text_of(page.get("/model/shap").text)
    assert "vix 0.03100 75.1" in text
    assert "BUY led by vix, 50.0 %" in text
    assert "low 700 rows" in text
    assert "high 4 rows: fewer than 30 rows" in text
    assert re.search(r"atm_iv 1\. 75\.0 % -", text)


def test_the_spread_of_contributions_is_shown_beside_its_plot(page: Page) -> None:
    html = page.get("/model/shap").text
    assert "vix -0.0421 0.0123 0.0842" in text_of(html)
    address = re.search(r'src="(/model/beeswarm/[^"]*)"', html)
    assert address
    plot = page.get(address[1])
    assert (plot.content, plot.headers["content-type"]) == (PNG, "image/png")
    assert plot.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "address",
    [
        "/model/beeswarm/NSE/..%2F..%2Fsecret", "/model/beeswarm/NSE/SELL", "/model/beeswarm/NYSE/BUY",
        "/model/beeswarm/..%2F../secret", "/model/signals/NYSE",
    ],
)  # fmt: skip
def test_what_is_no_plot_of_a_report_is_not_served(page: Page, address: str) -> None:
    answer = page.get(address)
    assert answer.status_code == 404
    assert b"not to be had" not in answer.content


def test_a_signal_is_explained_by_signed_contributions(page: Page) -> None:
    text = text_of(page.get("/model/signals").text)
    assert "NIFTY ▲ BUY 61.3 % VIX lifts it." in text
    assert "BUY 61.3 % , HOLD 25.0 % , SELL 13.8 % · regime: vix low, trend up, expiry day" in text
    assert "vix 13.25 -1.50 +0.0512" in text
    assert "atm_iv - - -0.0256" in text


def test_bars_point_to_the_side_of_their_sign_and_have_their_size(page: Page) -> None:
    html = page.get("/model/signals").text.split("</details>")[0]
    bars = re.findall(r'class="sbar (up|down)".*?<rect x="([^"]*)" y="1" width="([^"]*)"', html)
    assert [(side, float(x), float(width)) for side, x, width in bars] == [
        ("up", 0.0, 48.0), ("down", -24.0, 24.0)
    ]  # fmt: skip


def steps_of(html: str) -> list[tuple[str, float, float]]:
    """Side, beginning and width of the steps of a waterfall, and places of its levels."""
    found = re.findall(
        r'class="sbar (up|down|level)".*?(?:<rect x="([^"]*)" y="1" width="([^"]*)"|<line x1="([^"]*)")', html
    )
    return [(kind, float(x or at), float(width or 0)) for kind, x, width, at in found]


def test_a_waterfall_goes_from_what_every_row_starts_from_to_the_score(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(SIGNALS, [signal(1, "exact", expected=-0.9, raw_score=-0.8)])
    with browsing(lake.settings, NOW) as client:
        html = client.get("/model/signals").text.split("</details>")[0]
    text = text_of(html)
    # -0.8 = -0.9 + 0.0512 - 0.0256 + 0.0744
    for told in ("starts from -0.9000", "+0.0512", "-0.0256", "other features +0.0744", "61.3 % -0.8000"):
        assert told in text
    # Its model is not there, so nobody knows how many.
    assert "All other features" in text
    scale = 96 / 0.1  # -0.9 is at 2 and -0.8 at 98
    ends = [2.0, 2 + scale * 0.0512, 2 + scale * 0.0256, 98.0]
    assert [kind for kind, *_ in steps_of(html)] == ["level", "up", "down", "up", "level"]
    for (_, at, width), wanted in zip(
        steps_of(html),
        [(ends[0], 0), (ends[0], ends[1] - ends[0]), (ends[2], ends[1] - ends[2]),
         (ends[2], ends[3] - ends[2]), (ends[3], 0)],
        strict=True,
    ):  # fmt: skip
        assert (at, width) == pytest.approx(wanted, abs=1e-2)


@pytest.mark.parametrize(
    ("count", "told"), [(2, "No other feature"), (3, "The one other feature"), (19, "All 17 other features")]
)
def test_how_many_features_the_rest_are_is_said(tmp_path: Path, count: int, told: str) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(SIGNALS, [signal(1, "exact", expected=-0.9, raw_score=-0.8)])
    version = signal(1, "exact")["model_version"]
    write_info(lake, version, count)
    write_info(lake, "another", 7)
    with browsing(lake.settings, NOW) as client:
        assert f"{told} +0.0744" in text_of(client.get("/model/signals").text)


@pytest.mark.parametrize("version", ["../../outside", "..", "", "x/../../../outside"])
def test_a_version_that_is_a_path_reads_no_other_folder(tmp_path: Path, version: str) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(SIGNALS, [signal(1, "exact", expected=-0.9, raw_score=-0.8) | {"model_version": version}])
    write_info(lake, "m", 19)
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(lake.settings.models_dir / "NSE" / "m" / "model.json", outside)
    with browsing(lake.settings, NOW) as client:
        assert "All other features +0.0744" in text_of(client.get("/model/signals").text)


def write_info(lake: HealthLake, version: str, count: int) -> None:
    """What a model's folder says of it, as far as monitors read it."""
    folder = lake.settings.models_dir / "NSE" / version
    folder.mkdir(parents=True)
    document = {
        "exchange": "NSE", "model_version": version, "created_at": NOW.isoformat(),
        "dataset": {"name": "autumn", "content_digest": "0" * 32}, "symbols": ["NIFTY"],
        "features": [{"name": f"f{number}"} for number in range(count)],
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_table_of_an_earlier_version_shows_its_largest_features_and_gains_the_columns(
    tmp_path: Path,
) -> None:
    lake = HealthLake(tmp_path)
    since = {"expected", "raw_score"}
    earlier = replace(SIGNALS, columns=tuple(one for one in SIGNALS.columns if one.name not in since))
    lake.commit(earlier, [signal(2, "exact")])
    with browsing(lake.settings, NOW) as client:
        assert "what the others add, was not recorded" in text_of(client.get("/model/signals").text)
        lake.commit(SIGNALS, [signal(1, "exact", expected=-0.9, raw_score=-0.8)], sequence=2)
        newer, older, *_ = client.get("/model/signals").text.split("</details>")
    assert "other features +0.0744" in text_of(newer)
    assert "was not recorded" in text_of(older)


def test_context_has_no_contributions_and_says_that_it_explains_nothing(page: Page) -> None:
    exact, context, none, *_ = page.get("/model/signals").text.split("</details>")
    assert "no explanation" not in text_of(exact)
    assert "Context, no explanation" in text_of(context)
    assert "0.0512" not in context
    assert "sbar" not in context
    assert "without looking at features (depth none )" in text_of(none) or "(depth none)" in text_of(none)


@pytest.mark.parametrize("address", ["/model", "/model/shap", "/model/signals", "/model/signals/NSE"])
def test_names_that_are_scripts_are_shown_and_not_run(page: Page, address: str) -> None:
    html = page.get(address).text
    assert "alert(1)" in html
    assert SPITEFUL not in html.replace("<wbr>", "")


@pytest.mark.parametrize("address", ["/model", "/model/shap", "/model/signals"])
def test_an_exchange_without_a_model_says_so(page: Page, address: str) -> None:
    text = text_of(page.get(address).text)
    assert "No report of a model of BSE" in text or "No signal of BSE" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Invalid JSON"),
        (b'{"schema": "strikelake/feature_importance/1", "gain": {', "Invalid JSON"),
        (b"[]", "the file"),
        (json.dumps(importance() | {"schema": "strikelake/feature_importance/2"}).encode(), "schema"),
        (json.dumps(importance() | {"gain": {"vix": 7.0}}).encode(), "gain.vix"),
        (json.dumps(importance() | {"gain": {"vix": float("nan")}}).encode(), "gain.vix"),
    ],
    ids=["empty", "half-written", "list", "later form", "no share", "nan"],
)
def test_a_damaged_report_is_named_and_not_drawn(tmp_path: Path, content: bytes, told: str) -> None:
    lake = HealthLake(tmp_path)
    lake.settings.root.mkdir(parents=True)
    report(lake, "feature_importance.json", importance()).write_bytes(content)
    with browsing(lake.settings, NOW) as client:
        html = client.get("/model").text
    text = text_of(html)
    assert "This could not be read." in text
    assert told in text
    assert "hbar" not in html


def test_reports_of_another_model_than_the_one_in_use_are_marked(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.settings.root.mkdir(parents=True)
    lake.model()
    report(lake, "feature_importance.json", importance())
    report(lake, "shap_top_features.json", top())
    with browsing(lake.settings, datetime.now(UTC)) as client:
        assert "the model in use" not in client.get("/model").text
        report(lake, "feature_importance.json", importance() | {"model_version": "m0"})
        assert "different models: m0, m1" in text_of(client.get("/model").text)
        report(lake, "shap_top_features.json", top() | {"model_version": "m0"})
        assert "the model in use is m1; these reports are of m0" in text_of(client.get("/model").text)
