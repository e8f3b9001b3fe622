"""Rows for a model from a file: its features as numbers, whatever the order and types of the columns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from explain.attribution import Codes, Outputs
from explain.external_model import ExplainableModel
from explain.frame import KEYS
from explain.regimes import Dimension, learn
from lake.errors import MalformedInputError, NotEnoughDataError, SchemaMismatchError, one_line

REGIME_FEATURES = ("vix", "trend", "days_to_expiry")
"""Columns that regimes are learned from where a model has none of its own."""

_NAMED = 20
"""Names of columns a message lists at most."""


@dataclass(frozen=True, slots=True)
class ModelRows:
    """Rows that fit a model.

    Attributes:
        table: `KEYS` as far as the file has them, then float64 columns: features, and what regimes look at.
        labels: The class of each row, as its number; None if no column was named.
        regimes: Those of the model whose column is there, or learned from these rows.
        ignored: Columns of the file that were not used.
        dataset: Name of the file, and `sha256:` with its SHA-256.
    """

    table: pa.Table
    labels: Codes | None
    regimes: tuple[Dimension, ...]
    ignored: tuple[str, ...]
    dataset: dict[str, str]


def read_model_rows(path: Path, model: ExplainableModel, *, label: str | None = None) -> ModelRows:
    """Read what a model needs from a file.

    Integers, floats, decimals and booleans (as 0 and 1) become float64; null is missing. Text is refused
    but for the categories of a feature that pandas had made categorical; a value training did not see is
    missing, as in LightGBM.

    Args:
        path: `.parquet`, `.arrow` or `.feather`, `.csv` (first line names the columns; empty is missing).
        model: Which model.
        label: Column with the class of each row, by name (or number, for classes called 0, 1 ...).

    Raises:
        MalformedInputError: The file is not what its name says.
        SchemaMismatchError: Columns are missing or have types that are no numbers; labels are no classes.
        NotEnoughDataError: There is no row.
        OSError: There is no such file.
    """
    table = _read(path)
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaMismatchError(f"{path.name} has several columns called {_listed(twice)}")
    if not table.num_rows:
        raise NotEnoughDataError(f"{path.name} has no rows")
    sources = _sources(path, names, model, label)
    columns = {name: table.column(name) for name in KEYS if name in names and name not in sources}
    for feature, source in sources.items():
        columns[feature] = _numbers(table.column(source), feature, model.categories.get(feature))
    wanted = [d.feature for d in model.regimes] if model.regimes is not None else REGIME_FEATURES
    for name in wanted:
        if name in names and name not in columns:
            columns[name] = _numbers(table.column(name), name, None)
    rows = pa.table(columns)
    used = {*sources.values(), *columns, label}
    return ModelRows(
        table=rows,
        labels=None if label is None else _labels(table.column(label), label, model.outputs),
        regimes=_regimes(rows, model),
        ignored=tuple(name for name in names if name not in used),
        dataset={"name": path.name, "content_digest": f"sha256:{_sha256(path)}"},
    )


def _read(path: Path) -> pa.Table:
    from pyarrow import csv, feather, parquet

    suffix = path.suffix.lower()
    readers: dict[str, Any] = {
        ".parquet": lambda file: parquet.ParquetFile(file).read(),
        ".arrow": feather.read_table,
        ".feather": feather.read_table,
        ".csv": csv.read_csv,
    }
    if suffix not in readers:
        raise MalformedInputError(f"{path}: give data as {', '.join(readers)}, not as {suffix or 'that'}")
    with path.open("rb") as file:
        try:
            return readers[suffix](file)
        except (pa.ArrowException, OSError) as error:
            raise MalformedInputError(f"{path} cannot be read as {suffix[1:]}: {one_line(error)}") from error


def _sources(path: Path, names: list[str], model: ExplainableModel, label: str | None) -> dict[str, str]:
    """The column of each feature. LightGBM writes blanks in names as underscores, so these may differ."""
    blank = {name.replace(" ", "_"): name for name in names}
    found = {f: f if f in names else blank[f] for f in model.features if f in names or f in blank}
    missing = [feature for feature in model.features if feature not in found]
    if missing:
        unnamed = model.features == tuple(f"Column_{i}" for i in range(len(model.features)))
        hint = " (the model was trained on an array without names: call its columns so)" if unnamed else ""
        raise SchemaMismatchError(
            f"{path.name} lacks {len(missing)} of the model's {len(model.features)} features: "
            f"{_listed(missing)}{hint}"
        )
    if label is not None and label not in names:
        raise SchemaMismatchError(f"{path.name} has no column {label} (labels)")
    return found


def _numbers(column: pa.ChunkedArray, name: str, categories: tuple[Any, ...] | None) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if categories is not None:
        return _codes(column, name, categories)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif (
        not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
        and kind != pa.null()
    ):
        example = next((value for value in column.to_pylist() if value is not None), None)
        raise SchemaMismatchError(f"column {name} is {kind}, not numbers (such as {example!r}): convert it")
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise SchemaMismatchError(f"column {name} does not fit float64: {one_line(error)}") from error


def _codes(column: pa.ChunkedArray, name: str, categories: tuple[Any, ...]) -> pa.ChunkedArray:
    try:
        values = pa.array(categories).cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise SchemaMismatchError(
            f"column {name} is {column.type}, and the model's categories are such as {categories[0]!r}"
        ) from error
    return pc.index_in(column, values).cast(pa.float64())


def _labels(column: pa.ChunkedArray, name: str, outputs: Outputs) -> Codes:
    if not outputs.classes:
        raise SchemaMismatchError(f"the model is a regression: it has no classes for the column {name}")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.floor(column))).as_py():
        column = column.cast(pa.int64())  # whole numbers, as pandas keeps integers beside a null
    codes = pc.index_in(column.cast(pa.string()), pa.array(outputs.classes))
    if codes.null_count:
        strange = pc.unique(column.filter(codes.is_null())).to_pylist()
        raise SchemaMismatchError(
            f"column {name} has values that are no classes ({_listed([repr(v) for v in strange])}): "
            f"the classes are {_listed(outputs.classes)}"
        )
    return np.asarray(codes.to_numpy(), dtype=np.int64)


def _regimes(rows: pa.Table, model: ExplainableModel) -> tuple[Dimension, ...]:
    if model.regimes is not None:
        return tuple(d for d in model.regimes if d.feature in rows.column_names)
    there = [name for name in REGIME_FEATURES if name in rows.column_names]
    if not there:
        return ()
    return learn(there, np.column_stack([rows.column(name).to_numpy() for name in there]))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(names: Any) -> str:
    listed = [str(name) for name in names]
    rest = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + rest
