-- purpose: What the last minutes' rows lack, repeat, and how late they came.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $since: UTC, rows received before it do not count
-- parameter $now: UTC, the moment looked at, at most the session's close
-- grain: one row
-- units: *_pct percent of the rows (one_sided_pct: of the strikes); lateness_s seconds; row_count is a count
-- note: lateness_s: 95 of 100 rows were received within that time of their event_time.
-- note: A row is a duplicate if the same batch has the same leg of the same event_time and received_time.
WITH legs AS (
    SELECT
        event_time, symbol, expiry, strike, option_type, source, received_time, batch_id,
        ltp, oi, underlying_price
    FROM option_chain
    WHERE date = $date AND exchange = $exchange AND event_time > $since AND event_time <= $now
),

strikes AS (
    SELECT
        count(*) AS row_count,
        count(*) FILTER (WHERE option_type = 'CE') AS calls,
        count(*) FILTER (WHERE option_type = 'PE') AS puts
    FROM legs
    GROUP BY event_time, symbol, expiry, strike, source, received_time, batch_id
),

paired AS (
    SELECT
        100.0 * count(*) FILTER (WHERE calls = 0 OR puts = 0) / nullif(count(*), 0) AS one_sided_pct,
        100.0 * sum(greatest(calls - 1, 0) + greatest(puts - 1, 0)) / nullif(sum(row_count), 0)
        AS duplicate_pct
    FROM strikes
),

rates AS (
    SELECT
        count(*) AS row_count,
        100.0 * count(*) FILTER (WHERE ltp IS NULL) / nullif(count(*), 0) AS ltp_null_pct,
        100.0 * count(*) FILTER (WHERE oi IS NULL) / nullif(count(*), 0) AS oi_null_pct,
        100.0 * count(*) FILTER (WHERE underlying_price IS NULL) / nullif(count(*), 0) AS underlying_null_pct,
        quantile_disc(epoch_us(received_time) - epoch_us(event_time), 0.95) / 1e6 AS lateness_s,
        count(DISTINCT batch_id) AS batches,
        min(batch_id) AS first_batch_id,
        max(batch_id) AS newest_batch_id
    FROM legs
)

SELECT
    row_count,
    ltp_null_pct,
    oi_null_pct,
    underlying_null_pct,
    one_sided_pct,
    duplicate_pct,
    lateness_s,
    batches,
    first_batch_id,
    newest_batch_id
FROM rates
CROSS JOIN paired
