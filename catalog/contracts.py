"""Table contracts: what a column means, its unit, its bounds, and how the table is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from lake.table import TableSpec

TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract.

    Attributes:
        name: Column name.
        type: Arrow type, as stored.
        unit: Unit of the values, "" where there is none.
        about: One line for a reader.
        required: Null sends the row to quarantine.
        minimum: Lowest value allowed, None for no bound; NaN and infinities are never allowed.
        above: Value that must be exceeded, None for no bound.
    """

    name: str
    type: pa.DataType
    unit: str
    about: str
    required: bool = False
    minimum: float | None = None
    above: float | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What every row of a table keeps, and how the table is laid out.

    Attributes:
        table: Name of the table.
        about: One line for a reader.
        grain: The columns that tell one row from another.
        columns: In stored order; `date` and `exchange` first, `batch_id` last.
        statistics: Columns whose minimum and maximum each file keeps, for pruning.
        dictionary: Columns of few distinct values.
        sort_by: Columns that compaction sorts rows by: time order, which the newest chain, ranges of time
            and replay want. `benchmarks/layout.py` has the figures.
        widens: True if rows may bring new float64 columns.
        area: `raw_stream` for what was captured, `derived` for what was worked out from it.
    """

    table: str
    about: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    statistics: tuple[str, ...]
    dictionary: tuple[str, ...]
    sort_by: tuple[str, ...]
    widens: bool = False
    partition_by: tuple[str, ...] = field(default=("date", "exchange"))
    area: str = "raw_stream"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table before any widening."""
        return pa.schema([pa.field(c.name, c.type, nullable=True) for c in self.columns])

    @property
    def spec(self) -> TableSpec:
        """How the lake stores the table."""
        return TableSpec(
            name=self.table,
            schema=self.schema,
            partition_by=self.partition_by,
            statistics=self.statistics,
            dictionary=self.dictionary,
            area=self.area,
            sort_by=self.sort_by,
        )


def _keys(*, symbol: bool) -> Sequence[Column]:
    columns = [
        Column("date", pa.date32(), "", "session date, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("event_time", TIME, "UTC", "when the source says it happened", required=True),
        Column("received_time", TIME, "UTC", "when strikelake got it", required=True),
    ]
    if symbol:
        columns.append(Column("symbol", pa.string(), "", "underlying, e.g. NIFTY", required=True))
    return columns


_BATCH_ID = Column("batch_id", pa.string(), "", "micro-batch that brought the row", required=True)
_UNITS = "units of the underlying"
_PRICE = "rupees, or points"

OPTION_CHAIN = Contract(
    table="option_chain",
    about="One leg (call or put) of one chain update.",
    grain=("event_time", "exchange", "symbol", "expiry", "strike", "option_type"),
    columns=(
        *_keys(symbol=True),
        Column("expiry", pa.date32(), "", "expiry date of the contract", required=True),
        Column("strike", pa.float64(), "rupees", "strike price", required=True, above=0),
        Column("option_type", pa.string(), "", "CE (call) or PE (put)", required=True),
        Column("ltp", pa.float64(), "rupees", "last traded price", minimum=0),
        Column("bid", pa.float64(), "rupees", "best bid", minimum=0),
        Column("ask", pa.float64(), "rupees", "best ask", minimum=0),
        Column("bid_qty", pa.int64(), _UNITS, "quantity at the best bid", minimum=0),
        Column("ask_qty", pa.int64(), _UNITS, "quantity at the best ask", minimum=0),
        Column("oi", pa.int64(), _UNITS, "open interest", minimum=0),
        Column("oi_change", pa.int64(), _UNITS, "change of open interest since the last close"),
        Column("volume", pa.int64(), _UNITS, "traded since the open, cumulative", minimum=0),
        Column("iv", pa.float64(), "annualised fraction", "implied volatility, 0.135 = 13.5 %", minimum=0),
        Column("underlying_price", pa.float64(), "rupees", "spot the source gave", above=0),
        Column("vix", pa.float64(), "points", "India VIX", minimum=0),
        Column("atm_strike", pa.float64(), "rupees", "at-the-money strike the source gave", minimum=0),
        Column("time_to_expiry_s", pa.float64(), "seconds", "from event_time to the expiry session's close"),
        Column("pcr", pa.float64(), "", "put-call ratio the source gave", minimum=0),
        Column("lot_size", pa.int32(), _UNITS, "contract size that day", above=0),
        Column("source", pa.string(), "", "source adapter, or live", required=True),
        Column("dq_flags", pa.int32(), "bits", "data-quality flags, see catalog.dq_flags", required=True),
        _BATCH_ID,
    ),
    sort_by=("event_time", "received_time", "symbol", "expiry", "strike", "option_type"),
    statistics=("event_time", "received_time", "symbol", "expiry", "strike"),
    dictionary=(
        "symbol",
        "expiry",
        "strike",
        "option_type",
        "source",
        "batch_id",
        "lot_size",
        "dq_flags",
        "underlying_price",
        "vix",
        "atm_strike",
        "pcr",
        "event_time",
        "received_time",
    ),
)

ML_FEATURES = Contract(
    table="ml_features",
    about="The live app's own features, one row an update; one float64 column a feature.",
    grain=("event_time", "exchange", "symbol"),
    columns=(
        *_keys(symbol=True),
        Column("source", pa.string(), "", "source adapter, or live", required=True),
        _BATCH_ID,
    ),
    sort_by=("event_time", "received_time", "symbol"),
    statistics=("event_time", "received_time", "symbol"),
    dictionary=("symbol", "source", "batch_id"),
    widens=True,
)

SESSION_INTERVAL_S = 86_400
"""`interval_s` of a day candle, which is one of a whole session, whatever its hours."""

CANDLES = Contract(
    table="candles",
    about="Open, high, low and close of one instrument over an interval, known once the interval is over.",
    grain=(
        "event_time", "exchange", "symbol", "instrument", "expiry", "strike", "option_type", "interval_s",
        "source",
    ),
    columns=(
        Column("date", pa.date32(), "", "session date, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column(
            "event_time",
            TIME,
            "UTC",
            "when the candle was complete: its end, at the latest the session's close",
            required=True,
        ),
        Column("received_time", TIME, "UTC", "when strikelake got it", required=True),
        Column(
            "start_time",
            TIME,
            "UTC",
            "the time the source labels it with; of a session its midnight",
            required=True,
        ),
        Column("symbol", pa.string(), "", "index, or underlying, e.g. NIFTY or INDIAVIX", required=True),
        Column("instrument", pa.string(), "", "index, future or option", required=True),
        Column("expiry", pa.date32(), "", "expiry date of the contract, null for an index"),
        Column("strike", pa.float64(), "rupees", "strike price, null unless an option", above=0),
        Column("option_type", pa.string(), "", "CE (call) or PE (put), null unless an option"),
        Column(
            "interval_s",
            pa.int32(),
            "seconds",
            "length of the candle; 86400 for a whole session",
            required=True,
            above=0,
        ),
        Column("open", pa.float64(), _PRICE, "first price, null without a trade", minimum=0),
        Column("high", pa.float64(), _PRICE, "highest price, null without a trade", minimum=0),
        Column("low", pa.float64(), _PRICE, "lowest price, null without a trade", minimum=0),
        Column("close", pa.float64(), _PRICE, "last price; of a session what the exchange says", minimum=0),
        Column("settle", pa.float64(), _PRICE, "settlement price of the session", minimum=0),
        Column("volume", pa.int64(), _UNITS, "traded within the candle, null for an index", minimum=0),
        Column("oi", pa.int64(), _UNITS, "open interest at its end", minimum=0),
        Column("oi_change", pa.int64(), _UNITS, "change of open interest in the session"),
        Column("trades", pa.int64(), "trades", "number of trades in the candle", minimum=0),
        Column("turnover", pa.float64(), "rupees", "value traded, as the source counts it", minimum=0),
        Column("underlying_price", pa.float64(), "rupees", "of the underlying, the source's", above=0),
        Column("lot_size", pa.int32(), _UNITS, "contract size, where it is known", above=0),
        Column("source", pa.string(), "", "source adapter", required=True),
        _BATCH_ID,
    ),
    sort_by=("event_time", "received_time", "symbol", "expiry", "strike", "option_type"),
    statistics=("event_time", "received_time", "symbol", "expiry", "strike"),
    dictionary=(
        "event_time", "received_time", "start_time", "symbol", "instrument", "expiry", "strike",
        "option_type", "interval_s", "underlying_price", "lot_size", "source", "batch_id",
    ),
)  # fmt: skip

QUARANTINE = Contract(
    table="quarantine",
    about="Input that could not become a row, with the reason.",
    grain=(),
    columns=(
        Column("date", pa.date32(), "", "session date of the event, else of receipt", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("received_time", TIME, "UTC", "when strikelake got it", required=True),
        Column("table", pa.string(), "", "the table it was meant for", required=True),
        Column("reason", pa.string(), "", "stable code, e.g. bad_number", required=True),
        Column("detail", pa.string(), "", "which field, which value, what was expected"),
        Column("payload", pa.string(), "JSON", "the input as it came"),
        Column("source", pa.string(), "", "source adapter, or live", required=True),
        # Lakes from before the columns below have rows without them.
        Column("reject_id", pa.string(), "", "names the row, for 'ingest quarantine show'"),
        Column("origin", pa.string(), "JSON", "what beside the payload it takes to try again"),
        Column("stored", pa.string(), "", "file in the folder quarantine that has it whole"),
        _BATCH_ID,
    ),
    sort_by=("received_time", "table", "reason"),
    statistics=("received_time",),
    dictionary=("table", "reason", "source", "batch_id"),
)

QUARANTINE_RETRIES = Contract(
    table="quarantine_retries",
    about="What became of a row of quarantine when it was tried again.",
    grain=("reject_id", "retried_time"),
    columns=(
        Column("date", pa.date32(), "", "that of the row in quarantine", required=True),
        Column("exchange", pa.string(), "", "that of the row in quarantine", required=True),
        Column("retried_time", TIME, "UTC", "when it was tried again", required=True),
        Column("reject_id", pa.string(), "", "the row in quarantine", required=True),
        Column("outcome", pa.string(), "", "accepted, loaded (by a load, before) or failed", required=True),
        Column("reason", pa.string(), "", "why it failed, a stable code"),
        Column("detail", pa.string(), "", "which field, which value, what was expected"),
        Column("row_count", pa.int64(), "rows", "rows that came in by it", required=True, minimum=0),
        _BATCH_ID,
    ),
    sort_by=("retried_time", "reject_id"),
    statistics=("retried_time",),
    dictionary=("retried_time", "outcome", "reason", "batch_id"),
)

SIGNAL_CLASSES = ("BUY", "HOLD", "SELL")
"""What a model may say; the fields of `probabilities`."""

_LOG_ODDS = "log-odds"

SIGNALS = Contract(
    table="signals",
    about="What a model said of one symbol at one moment, and why.",
    grain=("event_time", "exchange", "symbol"),
    columns=(
        *_keys(symbol=True),
        Column("signal", pa.string(), "", "class that the model holds most likely", required=True),
        Column("confidence", pa.float64(), "0 to 1", "probability of that class", required=True, minimum=0),
        Column(
            "probabilities",
            pa.struct([pa.field(name, pa.float64()) for name in SIGNAL_CLASSES]),
            "0 to 1",
            "of each class; their sum is 1",
            required=True,
        ),
        Column(
            "regime",
            pa.struct([pa.field(name, pa.string()) for name in ("vix", "trend", "expiry")]),
            "",
            "state of the market, cut where training learned to",
        ),
        Column("model_version", pa.string(), "", "model that made the signal", required=True),
        Column("dataset", pa.string(), "", "dataset the model was trained on"),
        Column("dataset_digest", pa.string(), "", "content digest of that dataset"),
        Column("depth", pa.string(), "", "what top_features are: exact, context or none", required=True),
        Column(
            "top_features",
            pa.list_(
                pa.struct(
                    [
                        pa.field("name", pa.string()),
                        pa.field("value", pa.float64()),
                        pa.field("z", pa.float64()),
                        pa.field("magnitude", pa.float64()),
                        pa.field("contribution", pa.float64()),
                    ]
                )
            ),
            "",
            "z in training std; magnitude a share, 0 to 1; contribution in log-odds, null in context",
        ),
        Column(
            "expected",
            pa.float64(),
            _LOG_ODDS,
            "score of the class that every row starts from; null in context",
        ),
        Column(
            "raw_score",
            pa.float64(),
            _LOG_ODDS,
            "of the class: expected and the contributions of all features",
        ),
        Column("narrative", pa.string(), "", "the reasons in a sentence"),
        Column("source", pa.string(), "", "who made it: live, or the name of a job", required=True),
        _BATCH_ID,
    ),
    sort_by=("event_time", "received_time", "symbol"),
    statistics=("event_time", "received_time", "symbol"),
    dictionary=(
        "symbol",
        "signal",
        "model_version",
        "dataset",
        "dataset_digest",
        "depth",
        "source",
        "batch_id",
    ),
    area="derived",
)

FEED_QUALITY = Contract(
    table="feed_quality",
    about="What the detectors said of one minute of one feed. Several rows of a minute add up.",
    grain=(),
    columns=(
        Column("date", pa.date32(), "", "session date, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("event_time", TIME, "UTC", "start of the minute", required=True),
        Column("received_time", TIME, "UTC", "when it was judged", required=True),
        Column("symbol", pa.string(), "", "underlying, * for a feed that sent nothing yet", required=True),
        Column("source", pa.string(), "", "source adapter, or live", required=True),
        Column("detector", pa.string(), "", "a flag, seen, silent or disconnected", required=True),
        Column("rows_seen", pa.int64(), "rows", "of the chains looked at", required=True, minimum=0),
        Column("rows_flagged", pa.int64(), "rows", "of them, those flagged", required=True, minimum=0),
        Column("chains", pa.int64(), "chains", "chains with such a row", required=True, minimum=0),
        Column("value", pa.float64(), "as the detector says", "how much, where it has a measure"),
        Column("detail", pa.string(), "", "which expiries, or why"),
        _BATCH_ID,
    ),
    sort_by=("event_time", "symbol", "source", "detector"),
    statistics=("event_time", "symbol"),
    dictionary=("event_time", "symbol", "source", "detector", "detail", "batch_id"),
    area="derived",
)


ATTRIBUTION = Contract(
    table="attribution",
    about="What a feature added to a class's score in one session: of training, or after it.",
    grain=("model_version", "exchange", "sample", "date", "feature", "class"),
    columns=(
        Column("date", pa.date32(), "", "session date, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("event_time", TIME, "UTC", "of the last row that it was worked out on", required=True),
        Column("model_version", pa.string(), "", "the model that was asked", required=True),
        Column("sample", pa.string(), "", "training, or session for one after it", required=True),
        Column("feature", pa.string(), "", "name of the feature", required=True),
        Column("class", pa.string(), "", "BUY, HOLD or SELL", required=True),
        Column("mean", pa.float64(), _LOG_ODDS, "mean signed contribution", required=True),
        Column("mean_absolute", pa.float64(), _LOG_ODDS, "its mean without signs", required=True, minimum=0),
        Column("std", pa.float64(), _LOG_ODDS, "its spread over the rows of the session", minimum=0),
        Column("row_count", pa.int64(), "rows", "labelled rows it was worked out on", required=True, above=0),
        _BATCH_ID,
    ),
    sort_by=("model_version", "sample", "feature", "class"),
    statistics=("event_time", "model_version", "sample"),
    dictionary=("event_time", "model_version", "sample", "feature", "class", "row_count", "batch_id"),
    area="derived",
)

HEALTH_METRICS = Contract(
    table="health_metrics",
    about="What a health check measured, one row a metric and check.",
    grain=("event_time", "exchange", "metric", "labels"),
    columns=(
        Column("date", pa.date32(), "", "date of the check, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE, BSE, or LAKE for what concerns no exchange", required=True),
        Column("event_time", TIME, "UTC", "when the check looked", required=True),
        Column("metric", pa.string(), "", "name of the metric, e.g. feed_age_s", required=True),
        Column(
            "labels", pa.string(), "", "of what it was measured, e.g. symbol=NIFTY; else empty", required=True
        ),
        Column("value", pa.float64(), "see unit", "what was measured, null where nothing could be"),
        Column("unit", pa.string(), "", "unit of the value", required=True),
        Column("note", pa.string(), "", "why there is no value"),
        _BATCH_ID,
    ),
    sort_by=("event_time", "metric", "labels"),
    statistics=("event_time", "metric"),
    dictionary=("event_time", "metric", "labels", "unit", "note", "batch_id"),
    area="derived",
)

PAPER_TRADING_METRICS = Contract(
    table="paper_trading_metrics",
    about="How paper trading stood whenever its tracker said so.",
    grain=("event_time", "exchange"),
    columns=(
        Column("date", pa.date32(), "", "date of the event, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("event_time", TIME, "UTC", "when the tracker says it stood so", required=True),
        Column("received_time", TIME, "UTC", "when a health check read it", required=True),
        Column("total_pnl", pa.float64(), "rupees", "profit and loss, open positions included"),
        Column("realized_pnl", pa.float64(), "rupees", "that of closed positions"),
        Column("unrealized_pnl", pa.float64(), "rupees", "that of open positions"),
        Column("open_positions", pa.int64(), "positions", "positions that are open", minimum=0),
        Column("trades", pa.int64(), "trades", "trades so far", minimum=0),
        Column("winning_trades", pa.int64(), "trades", "of them with a profit", minimum=0),
        Column("losing_trades", pa.int64(), "trades", "of them with a loss", minimum=0),
        Column(
            "portfolio_constraint_violations",
            pa.int64(),
            "violations",
            "broken limits of the portfolio so far",
            minimum=0,
        ),
        Column("source", pa.string(), "", "who said so: phase2 for a tracker's summary", required=True),
        _BATCH_ID,
    ),
    sort_by=("event_time",),
    statistics=("event_time", "received_time"),
    dictionary=("source", "batch_id"),
    area="derived",
)

DRIFT_SCORES = Contract(
    table="drift_scores",
    about="What one method says of one feature in one window, against the training dataset.",
    grain=("window_end", "exchange", "symbol", "feature", "method", "dataset"),
    columns=(
        Column("date", pa.date32(), "", "session date of the window's end, exchange-local", required=True),
        Column("exchange", pa.string(), "", "NSE or BSE", required=True),
        Column("window_start", TIME, "UTC", "from which moment on rows count", required=True),
        Column("window_end", TIME, "UTC", "up to which moment", required=True),
        Column("symbol", pa.string(), "", "underlying, or * for all together", required=True),
        Column("feature", pa.string(), "", "name of the feature", required=True),
        Column("method", pa.string(), "", "level, psi, step, missing ..., see the glossary", required=True),
        Column("score", pa.float64(), "as its method says", "how far it is from the reference"),
        Column("threshold", pa.float64(), "as the score", "beyond which the window is flagged"),
        Column("p_value", pa.float64(), "fraction", "chance of such a score without drift", minimum=0),
        Column("effective_n", pa.float64(), "rows", "independent rows the window is worth", minimum=0),
        Column("drifted", pa.bool_(), "", "flagged; not yet a breach", required=True),
        Column("verdict", pa.string(), "", "ok, drift, or why there is no score", required=True),
        Column("row_count", pa.int64(), "rows", "rows of the window with a value", required=True, minimum=0),
        Column("dataset", pa.string(), "", "training dataset that is the reference", required=True),
        _BATCH_ID,
    ),
    sort_by=("window_end", "symbol", "feature", "method"),
    statistics=("window_end", "feature"),
    dictionary=(
        "window_start",
        "window_end",
        "symbol",
        "feature",
        "method",
        "verdict",
        "dataset",
        "batch_id",
    ),
    area="derived",
)

CAPTURED: dict[str, Contract] = {
    c.table: c
    for c in (OPTION_CHAIN, ML_FEATURES, CANDLES, QUARANTINE, QUARANTINE_RETRIES, SIGNALS, FEED_QUALITY)
}
"""What ingest commits from its spools."""

CONTRACTS: dict[str, Contract] = CAPTURED | {
    c.table: c for c in (ATTRIBUTION, HEALTH_METRICS, PAPER_TRADING_METRICS, DRIFT_SCORES)
}
"""Every table there is a contract for."""
