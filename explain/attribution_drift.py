"""How what each feature adds to a model's scores moves between the training set and the sessions after it.

One row a session, feature and class goes into the table `attribution`: first of every session of the training
set, then of each session since. The view `attribution_drift` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.calendar import SessionCalendar
from catalog.contracts import ATTRIBUTION
from catalog.datasets import read
from catalog.upkeep import finished_sessions
from explain.contributions import contributions
from explain.dataset_frame import frame_of
from explain.features import build_frame
from explain.frame import LabelTerms, TrainingFrame, feature_matrix
from explain.model_folder import ModelInfo, load_booster, read_info
from lake.append import append
from lake.errors import (
    CommitConflictError,
    DamagedTableError,
    DatasetNotFoundError,
    NotEnoughDataError,
    SchemaMismatchError,
    one_line,
)
from lake.log_recovery import recover_log
from lake.session import Session
from lake.snapshot import read_snapshot
from lake.table import Lake, open_table

if TYPE_CHECKING:
    import lightgbm as lgb

TRAINING, SESSION = "training", "session"

SAMPLE_ROWS = 600
"""Rows of a session whose contributions are computed: its mean varies more from session to session than with
more rows of the same one."""

_CHUNK_ROWS = 100
_TRIES = 20

Progress = Callable[[int], None]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run added to the table.

    Attributes:
        training_sessions: Sessions of the training set; none if they were there.
        sessions: Sessions after it.
        without_rows: Finished sessions that gave no labelled row, e.g. of a few minutes.
    """

    training_sessions: tuple[date, ...]
    sessions: tuple[date, ...]
    without_rows: tuple[date, ...]


def record(
    lake: Lake,
    model: Path,
    calendar: SessionCalendar,
    *,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Recorded:
    """Add what the table `attribution` lacks of a model: its training set, and every finished session since.

    Each session is one commit (the training set one for all), so a run that was interrupted goes on where it
    stopped; running it again adds nothing. Sessions are worked out as the training set was, on labelled rows
    alone: the last minutes of a day, which have no label, would else be in one side of the comparison only.
    A session is recorded once, as it was then: rows that come late change nothing.

    Args:
        lake: The lake that has the model's dataset and the sessions.
        model: Folder of the model.
        calendar: When sessions are over.
        now: The moment it is.
        progress: Called with the number of rows just explained.

    Raises:
        ModelNotFoundError, ModelNotReadableError: See `explain.model_folder`.
        DatasetNotFoundError: The model's dataset is gone, or is another one under its name.
        SchemaMismatchError: The model has features that sessions do not: those of a dataset's own query.
        NotEnoughDataError: The training set gives no row.
        CommitConflictError: Another process records the same model all the time.
        DamagedTableError: A table cannot be read or written.
    """
    info = read_info(model)
    booster = load_booster(model, info)
    path = lake.create(ATTRIBUTION.spec)
    recover_log(lake, path, spec=ATTRIBUTION.spec)
    known = _known(lake, info)
    trained: tuple[date, ...] = ()
    if not known[TRAINING]:
        frame = _training_frame(lake, info)
        append_rows(lake, info, attribution_rows(booster, info, frame, TRAINING, progress=progress))
        known = _known(lake, info)
        trained = tuple(sorted(known[TRAINING]))
    added, without = [], []
    finished = finished_sessions(calendar, now)
    with Session(lake) as session:
        for day in _days_after(session, info.exchange, max(known[TRAINING])):
            if day in known[SESSION] or not finished({"date": str(day), "exchange": info.exchange}):
                continue
            try:
                frame = build_frame(
                    session, info.exchange, terms=_terms(info), symbols=info.symbols, dates=[day]
                )
            except NotEnoughDataError:
                without.append(day)
                continue
            if append_rows(lake, info, attribution_rows(booster, info, frame, SESSION, progress=progress)):
                added.append(day)
    return Recorded(trained, tuple(added), tuple(without))


def attribution_rows(
    booster: lgb.Booster,
    info: ModelInfo,
    frame: TrainingFrame,
    sample: str,
    *,
    rows_a_session: int = SAMPLE_ROWS,
    progress: Progress | None = None,
) -> pa.Table:
    """Rows for the table, but for `batch_id`.

    Of each session and underlying rows at even distances in time are explained: every time of the day counts,
    and they are the same each time.

    Args:
        booster: The model.
        info: Its `model.json`.
        frame: One or more sessions of the model's exchange.
        sample: `training` or `session`.
        rows_a_session: Rows explained of a session at most.
        progress: Called with the number of rows just explained.

    Raises:
        SchemaMismatchError: The frame lacks features of the model. Those of the app (`app_...`) may be
            missing: it does not send them all every day.
    """
    lacking = [name for name in info.feature_names if name not in frame.rows.column_names]
    unknown = [name for name in lacking if not name.startswith("app_")]
    if unknown:
        raise SchemaMismatchError(
            f"model {info.model_version} was trained on features of its dataset's own query, which sessions "
            f"do not have: {', '.join(unknown)}"
        )
    rows = frame.rows
    for name in lacking:
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.float64()))
    found = []
    for day in sorted(pc.unique(rows.column("date")).to_pylist()):
        of_day = rows.filter(pc.equal(rows.column("date"), pa.scalar(day, pa.date32())))
        chosen = of_day.take(evenly_spaced(of_day, rows_a_session))
        found.append(_summary(info, chosen, sample, _explain(booster, info, chosen, progress)))
    return pa.concat_tables(found)


def evenly_spaced(rows: pa.Table, count: int) -> pa.Array:
    """Numbers of at most `count` rows: of each underlying its share, at even distances in time."""
    symbols = np.asarray(rows.column("symbol").to_pylist())
    times = rows.column("event_time").to_numpy()
    order = np.lexsort((times, symbols))
    if len(order) > count:
        # In the middles of `count` stretches of equal length, of rows sorted by symbol and then by time.
        order = order[((np.arange(count) + 0.5) * len(order) / count).astype(np.int64)]
    return pa.array(np.sort(order))


def append_rows(lake: Lake, info: ModelInfo, rows: pa.Table) -> bool:
    """Append rows of sessions that the table lacks, as one commit; False if it lacks none of them.

    The sequence counts a model's commits, and is read from the same version as the sessions that are there:
    of two processes that record the same model only one can commit it, and the other looks again.

    Raises:
        CommitConflictError: Another process was faster, again and again.
    """
    path = lake.path(ATTRIBUTION.table)
    stream = f"attribution/{info.exchange}/{info.model_version}"
    sample = rows.column("sample")[0].as_py()
    for _ in range(_TRIES):
        handle = open_table(path)
        known = _known(lake, info, version=handle.version())[sample]
        lacking = pc.invert(pc.is_in(rows.column("date"), pa.array(sorted(known), pa.date32())))
        rows = rows.filter(lacking)
        if not rows.num_rows:
            return False
        sequence = (handle.transaction_version(stream) or 0) + 1
        batch_id = f"{info.exchange}-{info.model_version}-{sequence:06d}"
        batch = rows.append_column("batch_id", pa.repeat(pa.scalar(batch_id), rows.num_rows))
        note = {"batch_id": batch_id, "app_id": "explain", "seq_first": sequence, "seq_last": sequence}
        try:
            append(path, ATTRIBUTION.spec, batch.select(ATTRIBUTION.schema.names), stream=stream,
                   sequence=sequence, metadata=note, handle=handle)  # fmt: skip
        except CommitConflictError:
            continue
        return True
    raise CommitConflictError(f"another process records the attributions of model {info.model_version}")


def _known(lake: Lake, info: ModelInfo, *, version: int | None = None) -> dict[str, set[date]]:
    """Sessions that the table has of a model, by sample."""
    snapshot = read_snapshot(lake.path(ATTRIBUTION.table), version)
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT sample, date FROM ({snapshot.select()})"
                " WHERE exchange = $exchange AND model_version = $model_version",
                {"exchange": info.exchange, "model_version": info.model_version},
            ).fetchall()
    except duckdb.Error as error:
        raise DamagedTableError(f"{ATTRIBUTION.table} cannot be read: {one_line(error)}") from error
    return {name: {day for sample, day in rows if sample == name} for name in (TRAINING, SESSION)}


def _training_frame(lake: Lake, info: ModelInfo) -> TrainingFrame:
    """What the model was trained on, replayed."""
    name = info.dataset["name"]
    dataset = read(lake, name)
    if dataset.content_digest != info.dataset["content_digest"]:
        raise DatasetNotFoundError(
            f"dataset {name} is not the one that model {info.model_version} was trained on, but another one "
            "under its name"
        )
    return frame_of(lake, dataset, info.exchange, _terms(info), symbols=info.symbols)


def _terms(info: ModelInfo) -> LabelTerms:
    return LabelTerms(timedelta(seconds=info.label["horizon_s"]), info.label["threshold"])


def _days_after(session: Session, exchange: str, last: date) -> list[date]:
    rows = session.table(
        "SELECT DISTINCT date FROM option_chain_partitions WHERE exchange = $exchange AND date > $last",
        {"exchange": exchange, "last": last},
    )
    return sorted(rows.column("date").to_pylist())


def _explain(booster: lgb.Booster, info: ModelInfo, rows: pa.Table, progress: Progress | None) -> Floats:
    """Contributions: (rows, classes, features)."""
    matrix = feature_matrix(rows, info.feature_names)
    parts = []
    for start in range(0, len(matrix), _CHUNK_ROWS):
        chunk = matrix[start : start + _CHUNK_ROWS]
        parts.append(contributions(booster, chunk, num_threads=0)[:, :, :-1])
        if progress:
            progress(len(chunk))
    return np.concatenate(parts)


def _summary(info: ModelInfo, explained: pa.Table, sample: str, values: Floats) -> pa.Table:
    """One row a feature and class, of the rows explained of one session."""
    rows, classes, features = values.shape
    count = classes * features
    columns = {
        "date": pa.repeat(explained.column("date")[0], count),
        "exchange": [info.exchange] * count,
        "event_time": pa.repeat(pc.max(explained.column("event_time")), count),
        "model_version": [info.model_version] * count,
        "sample": [sample] * count,
        "feature": list(info.feature_names) * classes,
        "class": [name for name in info.classes for _ in range(features)],
        "mean": values.mean(axis=0).ravel(),
        "mean_absolute": np.abs(values).mean(axis=0).ravel(),
        "std": values.std(axis=0).ravel(),
        "row_count": pa.array([rows] * count, pa.int64()),
    }
    return pa.table(columns)
