"""The frame of a dataset: features and labels made of its tables, or the rows its query gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from catalog.dataset_replay import Progress
from catalog.datasets import Dataset, open_proven_session, replay_to_arrow
from catalog.exchanges import EXCHANGES
from explain.features import build_frame
from explain.frame import CLASSES, KEYS, LabelTerms, TrainingFrame
from lake.errors import ContractError, NotEnoughDataError, SchemaMismatchError, TableNotFoundError
from lake.table import Lake

_NO_FEATURES = {*KEYS, "forward_return", "label", "batch_id"}
_NEEDED = ("event_time", "symbol", "label")


def frame_of(
    lake: Lake,
    dataset: Dataset,
    exchange: str,
    terms: LabelTerms,
    *,
    symbols: Sequence[str] = (),
    progress: Progress | None = None,
) -> TrainingFrame:
    """What a model of one exchange is trained on; every row is proven to be as recorded.

    Args:
        lake: The lake.
        dataset: Of `option_chain` (and `ml_features`), or with a query.
        exchange: Of whose rows.
        terms: How labels are made, or, of a dataset with a query, were made.
        symbols: Only these underlyings.
        progress: Called with the number of rows just read or made features of, see `rows_to_read`.

    Raises:
        TableNotFoundError: The dataset has no option chain, or nothing of this exchange.
        SchemaMismatchError: The query's result is no frame.
        ContractError: Its labels are not ours.
        NotEnoughDataError: There is no row of a symbol.
        DamagedTableError: Rows are not those of the dataset; the message names the batch.
        QueryError: The query gives something else.
    """
    has = sorted(dataset.batches().column("exchange").unique().to_pylist())
    if exchange not in has:
        raise TableNotFoundError(
            f"dataset {dataset.name} has nothing of {exchange}: it is of {', '.join(has)}"
        )
    if dataset.query is not None:
        rows = replay_to_arrow(lake, dataset, progress=progress)
        frame = frame_of_rows(rows, exchange, terms, symbols=symbols)
    else:
        if "option_chain" not in dataset.versions:
            raise TableNotFoundError(
                f"dataset {dataset.name} is of {', '.join(dataset.versions)}: features and labels are made "
                "of option_chain"
            )
        sizes = _rows_by_date(dataset, exchange)
        with open_proven_session(lake, dataset, progress=progress) as session:
            frame = build_frame(
                session, exchange, terms=terms, symbols=tuple(symbols), progress=_by_session(sizes, progress)
            )
    missing = set(symbols) - set(frame.rows.column("symbol").unique().to_pylist())
    if missing or not frame.rows.num_rows:
        of = f" of {', '.join(sorted(missing))}" if missing else ""
        raise NotEnoughDataError(f"dataset {dataset.name} gives no labelled row{of} on {exchange}")
    return frame


def rows_to_read(dataset: Dataset, exchange: str) -> int:
    """How far `progress` of `frame_of` goes: every row is proven, then features are made of some."""
    proven = sum(part.row_count for part in dataset.tables)
    return proven + (sum(_rows_by_date(dataset, exchange).values()) if dataset.query is None else 0)


def frame_of_rows(
    rows: pa.Table, exchange: str, terms: LabelTerms, *, symbols: Sequence[str] = ()
) -> TrainingFrame:
    """A frame of rows that somebody else made.

    Args:
        rows: `event_time` (a moment), `symbol`, `label` (of `CLASSES`), `forward_return` if it is known, and
            one number column a feature; of several exchanges if there is a column `exchange`.
        exchange: Of whose rows; those of others are left out.
        terms: What the labels are said to be; nothing here can check it.
        symbols: Only these underlyings.

    Raises:
        SchemaMismatchError: A column is missing, or one is no number.
        ContractError: A label is not one of ours.
    """
    missing = [name for name in _NEEDED if name not in rows.column_names]
    if missing:
        raise SchemaMismatchError(
            f"the dataset's query gives no {' and no '.join(missing)}: training needs {', '.join(_NEEDED)} "
            "and one number column a feature"
        )
    moment = rows.schema.field("event_time").type
    if not pa.types.is_timestamp(moment) or moment.tz is None:
        raise SchemaMismatchError(f"event_time is {moment}, not a moment with zone (TIMESTAMPTZ)")
    features = tuple(name for name in rows.column_names if name not in _NO_FEATURES)
    odd = [f"{name} ({rows.schema.field(name).type})" for name in features if not _is_number(rows, name)]
    if odd or not features:
        told = f"{', '.join(odd)} is no number: leave it out" if odd else "it has no feature: add a number"
        raise SchemaMismatchError(f"the dataset's query cannot be trained on: {told}")
    if "exchange" in rows.column_names:
        rows = rows.filter(pc.equal(rows.column("exchange"), exchange))
    if symbols:
        rows = rows.filter(pc.is_in(rows.column("symbol"), pa.array(symbols)))
    unknown = rows.filter(pc.invert(pc.is_in(rows.column("label"), pa.array(CLASSES)))).column("label")
    if len(unknown):
        first = unknown[0].as_py()
        raise ContractError(
            f"{len(unknown):,} rows have the label {first!r}, which is none of {', '.join(CLASSES)}: leave "
            "them out in the query, or name them so"
        )
    times = rows.column("event_time").cast(pa.timestamp("us", "UTC"))
    local = times.cast(pa.timestamp("us", EXCHANGES[exchange].timezone))
    columns = {
        "event_time": times,
        "date": pc.local_timestamp(local).cast(pa.date32(), safe=False),
        "exchange": pa.array([exchange] * rows.num_rows, pa.string()),
        "symbol": rows.column("symbol").cast(pa.string()),
        **{name: rows.column(name).cast(pa.float64()) for name in features},
        "forward_return": (
            rows.column("forward_return").cast(pa.float64())
            if "forward_return" in rows.column_names
            else pa.nulls(rows.num_rows, pa.float64())
        ),
        "label": rows.column("label").cast(pa.string()),
    }
    table = pa.table(columns).sort_by([("event_time", "ascending"), ("symbol", "ascending")])
    return TrainingFrame(table, features, terms)


def _rows_by_date(dataset: Dataset, exchange: str) -> Counter[date]:
    found: Counter[date] = Counter()
    for batch in dataset.batches().select(["table_name", "exchange", "date", "rows"]).to_pylist():
        if (batch["table_name"], batch["exchange"]) == ("option_chain", exchange):
            found[batch["date"]] += batch["rows"]
    return found


def _by_session(sizes: Counter[date], progress: Progress | None) -> Callable[[date], None] | None:
    if progress is None:
        return None
    return lambda day: progress(sizes[day])


def _is_number(rows: pa.Table, name: str) -> bool:
    kind = rows.schema.field(name).type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )
