-- purpose: What the values of each of the live app's features were in a session, for other tools.
-- reads: ml_features
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per date, exchange, symbol, feature
-- units: row_count and null_count in rows; the others in the unit of the feature
-- note: std is that of a sample, null for fewer than two; last_value is of the newest row that has one.
--   Values that are not finite count as missing.
WITH given AS (
    SELECT * EXCLUDE (received_time, source, batch_id)
    FROM ml_features
    WHERE date = $date AND exchange = $exchange
),

long AS (
    SELECT *
    FROM given
    UNPIVOT INCLUDE NULLS (
        given_value FOR feature IN (COLUMNS(* EXCLUDE (date, exchange, event_time, symbol)))
    )
),

finite AS (
    SELECT
        *,
        CASE WHEN isfinite(given_value) THEN given_value END AS value
    FROM long
)

SELECT
    date,
    exchange,
    symbol,
    feature,
    count(*) AS row_count,
    count(*) FILTER (WHERE value IS NULL) AS null_count,
    avg(value) AS mean,
    stddev_samp(value) AS std,
    min(value) AS minimum,
    max(value) AS maximum,
    arg_max(value, event_time) AS last_value,
    min(event_time) AS first_event_time,
    max(event_time) AS last_event_time
FROM finite
GROUP BY date, exchange, symbol, feature
ORDER BY date, exchange, symbol, feature
