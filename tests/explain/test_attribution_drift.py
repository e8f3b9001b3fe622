"""Attribution drift: what is recorded is what numpy and scipy say, a shift is found where it is, once."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from scipy import stats
from training_lake import sessions, training_lake

from catalog.batches import batches, sync
from catalog.contracts import ATTRIBUTION
from catalog.database import opened_database
from catalog.reference import ReferenceData
from explain import attribution_drift
from explain.attribution_drift import (
    SESSION,
    TRAINING,
    append_rows,
    attribution_rows,
    evenly_spaced,
    record,
)
from explain.boosting import BoostingTerms
from explain.cli import _show_drift
from explain.dataset_frame import frame_of
from explain.drift_report import COLUMNS, drift_report, write_report
from explain.frame import CLASSES, LabelTerms, TrainingFrame
from explain.model_folder import ModelInfo, find_model, read_info
from explain.report_documents import json_schema
from explain.training import TrainingTerms
from explain.training_run import run_training
from lake.errors import DatasetNotFoundError, SchemaMismatchError
from lake.session import Session
from lake.table import Lake

FEATURES = ("return_3m", "pcr_oi", "vix", "app_rsi")
MONDAY = date(2026, 1, 5)
ROWS = 240


def frame(days: int, *, start: date = MONDAY, seed: int = 0, shift: float = 0.0) -> TrainingFrame:
    """Sessions of normal features, whose levels differ a little from day to day; `pcr_oi` may be shifted."""
    rng = np.random.default_rng([seed, days])
    parts = []
    for day in (start + timedelta(days=n) for n in range(days)):
        opening = datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)
        values = rng.normal(size=(ROWS, 4)) + rng.normal(scale=0.1, size=4) + [0, shift, 0, 0]
        score = values[:, 0] + values[:, 1] + 0.5 * values[:, 2] + rng.normal(size=ROWS)
        parts.append(
            pa.table(
                {
                    "event_time": pa.array(
                        [opening + timedelta(seconds=60 * (n // 2)) for n in range(ROWS)],
                        pa.timestamp("us", "UTC"),
                    ),
                    "date": pa.array([day] * ROWS, pa.date32()),
                    "exchange": ["NSE"] * ROWS,
                    "symbol": ["BANKNIFTY", "NIFTY"] * (ROWS // 2),
                    **{name: values[:, n] for n, name in enumerate(FEATURES)},
                    "forward_return": score,
                    "label": [CLASSES[k] for k in np.where(score > 1, 0, np.where(score < -1, 2, 1))],
                }
            )
        )
    return TrainingFrame(pa.concat_tables(parts), FEATURES, LabelTerms())


@dataclass
class Model:
    booster: lgb.Booster
    info: ModelInfo


@pytest.fixture(scope="module")
def model() -> Model:
    """Trees of one split each: no feature's contribution depends on another's value."""
    given = frame(4)
    data = lgb.Dataset(given.matrix(), given.classes(), feature_name=list(FEATURES))
    parameters = {"objective": "multiclass", "num_class": 3, "max_depth": 1, "num_leaves": 2, "verbose": -1,
                  "num_threads": 1, "learning_rate": 0.3}  # fmt: skip
    booster = lgb.train(parameters, data, num_boost_round=60)
    info = ModelInfo(
        model_version="2026-01-08-abc", model_sha256=hashlib.sha256().hexdigest(), exchange="NSE",
        symbols=("BANKNIFTY", "NIFTY"), created_at=datetime(2026, 1, 8, tzinfo=UTC), dataset={"name": "ds"},
        classes=CLASSES, features=(), regimes=(), top_features={}, label={"horizon_s": 900, "threshold": 0.5},
        parameters={}, folds=(), software={},
    )  # fmt: skip
    return Model(booster, _with_features(info))


def _with_features(info: ModelInfo) -> ModelInfo:
    from explain.model_folder import FeatureInfo

    return replace(info, features=tuple(FeatureInfo(name, 0.0, 1.0, (), 0.0, 0.25) for name in FEATURES))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake.at(tmp_path / "my lake")
    found.create(ATTRIBUTION.spec)
    return found


def add(lake: Lake, model: Model, given: TrainingFrame, sample: str, rows: int = 10_000) -> bool:
    return append_rows(
        lake, model.info, attribution_rows(model.booster, model.info, given, sample, rows_a_session=rows)
    )


def version(lake: Lake) -> int:
    return DeltaTable(str(lake.path("attribution"))).version()


def drifts(lake: Lake, sessions: int) -> dict[tuple[str, str], dict[str, Any]]:
    with Session(lake) as session:
        rows = session.table(f"SELECT * FROM attribution_drift WHERE sessions = {sessions}").to_pylist()
    return {(row["feature"], row["class"]): row for row in rows}


def session_means(model: Model, given: TrainingFrame) -> np.ndarray[Any, Any]:
    """(sessions, classes, features), from LightGBM's flat output by hand."""
    flat = np.asarray(model.booster.predict(given.matrix(), pred_contrib=True))
    days = np.asarray(given.rows.column("date").to_pylist())
    means = []
    for day in sorted(set(days)):
        of_day = flat[days == day]
        means.append([[of_day[:, k * 5 + f].mean() for f in range(4)] for k in range(3)])
    return np.array(means)


def test_what_is_recorded_is_what_numpy_computes_from_the_contributions(lake: Lake, model: Model) -> None:
    given = frame(2)
    add(lake, model, given, TRAINING)

    with Session(lake) as session:
        rows = session.table("SELECT * FROM attribution").to_pylist()
    flat = np.asarray(model.booster.predict(given.matrix(), pred_contrib=True))
    days = np.asarray(given.rows.column("date").to_pylist())
    assert len(rows) == 2 * 3 * 4
    for row in rows:
        column = CLASSES.index(row["class"]) * 5 + FEATURES.index(row["feature"])
        values = flat[days == row["date"], column]
        assert row["row_count"] == len(values) == ROWS
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert row["mean_absolute"] == pytest.approx(np.abs(values).mean(), abs=1e-12)
        assert row["std"] == pytest.approx(values.std(), abs=1e-12)


def test_the_view_compares_sessions_as_the_t_test_of_two_samples_does(lake: Lake, model: Model) -> None:
    training, recent = frame(6), frame(4, start=MONDAY + timedelta(days=14), seed=1)
    add(lake, model, training, TRAINING)
    add(lake, model, recent, SESSION)

    then, since = session_means(model, training), session_means(model, recent)
    for wanted in (1, 3, 4):
        newest = since[-wanted:]
        found = drifts(lake, wanted)
        assert len(found) == 12
        for (feature, name), row in found.items():
            k, f = CLASSES.index(name), FEATURES.index(feature)
            expected = stats.ttest_ind(newest[:, k, f], then[:, k, f], equal_var=True)
            assert row["training_mean"] == pytest.approx(then[:, k, f].mean(), abs=1e-12)
            assert row["recent_mean"] == pytest.approx(newest[:, k, f].mean(), abs=1e-12)
            assert row["degrees_of_freedom"] == expected.df
            if np.isnan(expected.statistic):  # a feature that no tree of this class uses
                assert row["difference_in_standard_errors"] is None
            else:
                assert row["difference_in_standard_errors"] == pytest.approx(expected.statistic, rel=1e-9)


def test_shares_and_ranks_are_of_the_mean_absolute_contribution(lake: Lake, model: Model) -> None:
    training, recent = frame(4), frame(2, start=MONDAY + timedelta(days=14), seed=1, shift=2.0)
    add(lake, model, training, TRAINING)
    add(lake, model, recent, SESSION)

    found = drifts(lake, 2)
    for side, given in (("training", training), ("recent", recent)):
        flat = np.abs(np.asarray(model.booster.predict(given.matrix(), pred_contrib=True)))
        importance = flat.reshape(-1, 3, 5)[:, :, :4].mean(axis=0).sum(axis=0)
        order = np.argsort(-importance)
        for (feature, _), row in found.items():
            index = FEATURES.index(feature)
            assert row[f"{side}_share"] == pytest.approx(importance[index] / importance.sum())
            assert row[f"{side}_rank"] == list(order).index(index) + 1


def test_a_shift_is_found_at_the_feature_that_has_it_and_at_no_other(lake: Lake, model: Model) -> None:
    add(lake, model, frame(8), TRAINING)
    add(lake, model, frame(5, start=MONDAY + timedelta(days=14), seed=1, shift=1.0), SESSION)

    found = drifts(lake, 5)
    # Beyond 4.4, Student's t of 11 degrees of freedom is once in a thousand.
    bound = stats.t.ppf(0.9995, 11)
    beyond = {k for k, row in found.items() if abs(row["difference_in_standard_errors"] or 0) > bound}
    assert beyond == {("pcr_oi", name) for name in CLASSES}
    assert found["pcr_oi", "BUY"]["difference"] > 0 > found["pcr_oi", "SELL"]["difference"]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_sessions_of_training_give_no_score_and_the_report_says_so(
    lake: Lake, model: Model, count: int
) -> None:
    add(lake, model, frame(count), TRAINING)
    add(lake, model, frame(3, start=MONDAY + timedelta(days=14), seed=1), SESSION)

    with Session(lake) as session:
        report = drift_report(session, model.info, sessions=5)
    assert report["rows"]
    for row in report["rows"]:
        assert row["standard_error"] is row["difference_in_standard_errors"] is None
        assert row["difference"] is not None
    assert not report["enough"]
    assert f"has {count} session" in report["why_not"]


def test_without_a_session_since_training_the_report_has_no_rows_and_says_so(
    lake: Lake, model: Model
) -> None:
    add(lake, model, frame(4), TRAINING)
    with Session(lake) as session:
        report = drift_report(session, model.info, sessions=5)
    assert report["rows"] == report["recent_sessions"] == []
    assert len(report["training_sessions"]) == 4
    assert "no finished session" in report["why_not"]


def test_the_report_is_written_whole_and_reads_as_a_table(lake: Lake, model: Model, tmp_path: Path) -> None:
    add(lake, model, frame(4), TRAINING)
    add(lake, model, frame(3, start=MONDAY + timedelta(days=14), seed=1, shift=1.0), SESSION)
    now = datetime(2026, 1, 31, tzinfo=UTC)
    with Session(lake) as session:
        report = drift_report(session, model.info, sessions=2, now=now)
        write_report({"old": True}, tmp_path / "reports")
        file = write_report(report, tmp_path / "reports")
        as_table = session.connection.sql(f"SELECT unnest(rows, recursive := true) FROM '{file}'")
        assert sorted(as_table.columns) == sorted(COLUMNS)
        assert len(as_table.fetchall()) == 12
    assert json.loads(file.read_text(encoding="utf-8")) == report
    assert [path.name for path in file.parent.iterdir()] == ["attribution_drift.json"]
    assert report["enough"]
    assert len(report["recent_sessions"]) == 2
    scores = [abs(row["difference_in_standard_errors"]) for row in report["rows"]
              if row["difference_in_standard_errors"] is not None]  # fmt: skip
    assert scores == sorted(scores, reverse=True)
    assert report["rows"][0]["feature"] == "pcr_oi"


@pytest.mark.parametrize(("training", "since"), [(4, 3), (2, 3), (4, 0)])
def test_the_report_keeps_its_schema_which_documents_every_field(
    lake: Lake, model: Model, tmp_path: Path, training: int, since: int
) -> None:
    """Also where there is too little to judge by."""
    add(lake, model, frame(training), TRAINING)
    if since:
        add(lake, model, frame(since, start=MONDAY + timedelta(days=14), seed=1), SESSION)
    with Session(lake) as session:
        file = write_report(drift_report(session, model.info, sessions=5), tmp_path / "reports")
    report = json.loads(file.read_text(encoding="utf-8"))

    schema = json_schema("attribution_drift")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(report, schema)
    of_rows = schema["properties"]["rows"]["items"]["properties"]
    assert list(of_rows) == list(COLUMNS)
    assert all("description" in field for field in [*schema["properties"].values(), *of_rows.values()])
    for wrong in ({"format": 2}, {"enough": "yes"}, {"more": 1}, {"rows": [{"feature": "vix"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(report | wrong, schema)


def test_the_command_shows_what_moved_on_80_columns(
    lake: Lake, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    add(lake, model, frame(4), TRAINING)
    add(lake, model, frame(3, start=MONDAY + timedelta(days=14), seed=1, shift=1.0), SESSION)
    with Session(lake) as session:
        report = drift_report(session, model.info, sessions=5)
    _show_drift(report)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first = report["rows"][0]
    line = next(line.split() for line in lines if line.startswith(f"{first['feature']} "))
    assert line[1] == first["class"]
    assert line[4:6] == [f"{first['difference']:+.4f}", f"{first['difference_in_standard_errors']:+.1f}"]


@pytest.mark.parametrize(("training", "since"), [(2, 3), (4, 0)])
def test_the_command_says_on_80_columns_why_there_is_nothing_to_judge_by(
    lake: Lake, model: Model, capsys: pytest.CaptureFixture[str], training: int, since: int
) -> None:
    add(lake, model, frame(training), TRAINING)
    if since:
        add(lake, model, frame(since, start=MONDAY + timedelta(days=14), seed=1), SESSION)
    with Session(lake) as session:
        report = drift_report(session, model.info, sessions=5)
    _show_drift(report)

    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    assert report["why_not"] in told.replace("\n", " ")
    assert ("pcr_oi " in told) == bool(since)


def test_a_session_that_is_there_is_not_added_again(lake: Lake, model: Model) -> None:
    given = frame(3)
    assert add(lake, model, given, TRAINING)
    assert add(lake, model, frame(1, start=MONDAY + timedelta(days=14)), SESSION)
    before = version(lake)
    assert not add(lake, model, given, TRAINING)
    assert not add(lake, model, frame(1, start=MONDAY + timedelta(days=14)), SESSION)
    assert version(lake) == before


def test_of_writers_at_the_same_time_one_adds_each_session(lake: Lake, model: Model) -> None:
    days = [frame(1, start=MONDAY + timedelta(days=n), seed=n) for n in (14, 15, 16)]

    def all_days(_: int) -> int:
        return sum(add(lake, model, day, SESSION) for day in days)

    with ThreadPoolExecutor(3) as executor:
        added = list(executor.map(all_days, range(3)))
    assert sum(added) == 3
    with Session(lake) as session:
        counts = session.table("SELECT date, count(*) AS n FROM attribution GROUP BY date").to_pylist()
    assert sorted(row["n"] for row in counts) == [12, 12, 12]


def test_the_rows_explained_are_of_every_symbol_and_time_of_the_day() -> None:
    rows = frame(1).rows
    chosen = rows.take(evenly_spaced(rows, 24))
    assert chosen.num_rows == 24
    assert chosen.column("symbol").to_pylist().count("NIFTY") == 12
    hours = [moment.hour for moment in chosen.column("event_time").to_pylist()]
    assert {hours.count(hour) for hour in (4,)} == {12}
    assert evenly_spaced(rows, ROWS).to_pylist() == list(range(ROWS))


def test_features_of_the_app_may_be_missing_but_no_others(lake: Lake, model: Model) -> None:
    given = frame(1)
    without = replace(given, rows=given.rows.drop_columns(["app_rsi"]))
    assert add(lake, model, without, SESSION)
    with pytest.raises(SchemaMismatchError, match="pcr_oi"):
        add(lake, model, replace(given, rows=given.rows.drop_columns(["pcr_oi"])), SESSION)


@dataclass
class Trained:
    """A lake of six sessions, and a model of the first four."""

    lake: Lake
    models: Path
    catalog: str
    days: list[date]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("drift")
    days = sessions(6)
    made = training_lake(folder / "lake", days, interval_s=120, strikes=3)
    dataset = made.create("first-four", first=days[0], last=days[3])
    terms = TrainingTerms(folds=2, boosting=BoostingTerms(rounds=20))
    given = frame_of(made.lake, dataset, "NSE", LabelTerms())
    run_training(given, dataset, "NSE", folder / "models", terms, commands=[])
    made.engine.dispose()
    return Trained(
        made.lake, folder / "models", f"sqlite:///{(made.lake.root / 'catalog.db').as_posix()}", days
    )


def test_a_run_records_training_and_the_finished_sessions_since_and_a_second_run_nothing(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_model(trained.models, "NSE")
    calendar = ReferenceData.load().calendar
    # The last session is still open, then over.
    *_, last = trained.days
    open_ = datetime(last.year, last.month, last.day, 5, 0, tzinfo=UTC)
    first = record(trained.lake, folder, calendar, now=open_)
    assert list(first.training_sessions) == trained.days[:4]
    assert list(first.sessions) == trained.days[4:5]

    # Stopped by hand in the middle, then taken up again.
    monkeypatch.setattr(attribution_drift, "attribution_rows", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        record(trained.lake, folder, calendar)
    monkeypatch.undo()
    done = 0

    def progress(rows: int) -> None:
        nonlocal done
        done += rows

    second = record(trained.lake, folder, calendar, progress=progress)
    assert second.training_sessions == ()
    assert list(second.sessions) == trained.days[5:]
    assert done > 100
    before = version(trained.lake)
    third = record(trained.lake, folder, calendar)
    assert (third.training_sessions, third.sessions, third.without_rows) == ((), (), ())
    assert version(trained.lake) == before

    with opened_database(trained.catalog) as engine:
        sync(trained.lake, engine)
        mirrored = batches(engine, table="attribution")
    assert sorted(row["date"] for row in mirrored) == trained.days
    assert all(row["state"] == "committed" and row["app_id"] == "explain" for row in mirrored)

    info = read_info(folder)
    with Session(trained.lake) as session:
        report = drift_report(session, info, sessions=5)
    assert len(report["rows"]) == 3 * len(info.features)
    assert report["enough"]


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_dataset_that_is_another_one_under_its_name_is_refused(trained: Trained, tmp_path: Path) -> None:
    other = training_lake(tmp_path / "other", trained.days[:4], interval_s=900, strikes=3)
    other.create("first-four", first=trained.days[0], last=trained.days[3])
    with pytest.raises(DatasetNotFoundError, match="another one"):
        record(other.lake, find_model(trained.models, "NSE"), ReferenceData.load().calendar)
    other.engine.dispose()
