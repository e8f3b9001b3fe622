-- purpose: What each micro-batch brought, what is missing in it, and how late and how patchy it is.
-- reads: option_chain
-- parameters: none
-- grain: one row per batch_id, date, exchange
-- units: *_null_rate a fraction of the rows (0 to 1); *_s seconds; the others are counts
-- note: chains counts distinct (symbol, source, event_time), whatever their expiries.
-- note: duplicate_rows repeat a leg (source, event_time, symbol, expiry, strike, option_type) of the same
--   batch; across batches and sources see the check option_chain_duplicates. one_sided_strikes have a call
--   and no put in a chain, or the reverse.
-- note: A gap is the time to a chain from the one before it of the same date, symbol and source, whichever
--   batch brought that. Null for a batch that has only the first chains of their day.
-- note: max_lateness_s is the longest received_time - event_time.
-- note: Conditions on date and exchange reach the table; one on batch_id alone reads it all for the gaps.
WITH strikes AS (
    SELECT
        batch_id,
        date,
        exchange,
        symbol,
        source,
        event_time,
        count(*) AS row_count,
        count(*) FILTER (WHERE option_type = 'CE') AS calls,
        count(*) FILTER (WHERE option_type = 'PE') AS puts,
        count(*) FILTER (WHERE ltp IS NULL) AS ltp_nulls,
        count(*) FILTER (WHERE bid IS NULL) AS bid_nulls,
        count(*) FILTER (WHERE ask IS NULL) AS ask_nulls,
        count(*) FILTER (WHERE iv IS NULL) AS iv_nulls,
        count(*) FILTER (WHERE oi IS NULL) AS oi_nulls,
        count(*) FILTER (WHERE underlying_price IS NULL) AS underlying_price_nulls,
        max(epoch_us(received_time) - epoch_us(event_time)) AS lateness_us
    FROM option_chain
    GROUP BY batch_id, date, exchange, symbol, source, event_time, expiry, strike
),

chains AS (
    SELECT
        batch_id,
        date,
        exchange,
        symbol,
        source,
        event_time,
        sum(row_count) AS row_count,
        sum(greatest(calls - 1, 0) + greatest(puts - 1, 0)) AS duplicate_rows,
        count(*) FILTER (WHERE calls = 0 OR puts = 0) AS one_sided_strikes,
        sum(ltp_nulls) AS ltp_nulls,
        sum(bid_nulls) AS bid_nulls,
        sum(ask_nulls) AS ask_nulls,
        sum(iv_nulls) AS iv_nulls,
        sum(oi_nulls) AS oi_nulls,
        sum(underlying_price_nulls) AS underlying_price_nulls,
        max(lateness_us) AS lateness_us
    FROM strikes
    GROUP BY batch_id, date, exchange, symbol, source, event_time
),

gaps AS (
    SELECT
        date,
        exchange,
        symbol,
        source,
        event_time,
        epoch_us(event_time) - epoch_us(lag(event_time) OVER (
            PARTITION BY date, exchange, symbol, source
            ORDER BY event_time
        )) AS gap_us
    FROM chains
    GROUP BY date, exchange, symbol, source, event_time
)

SELECT
    batch_id,
    date,
    exchange,
    CAST(sum(row_count) AS BIGINT) AS row_count,
    count(*) AS chains,
    min(event_time) AS first_event_time,
    max(event_time) AS last_event_time,
    CAST(sum(duplicate_rows) AS BIGINT) AS duplicate_rows,
    CAST(sum(one_sided_strikes) AS BIGINT) AS one_sided_strikes,
    CAST(sum(ltp_nulls) AS DOUBLE) / sum(row_count) AS ltp_null_rate,
    CAST(sum(bid_nulls) AS DOUBLE) / sum(row_count) AS bid_null_rate,
    CAST(sum(ask_nulls) AS DOUBLE) / sum(row_count) AS ask_null_rate,
    CAST(sum(iv_nulls) AS DOUBLE) / sum(row_count) AS iv_null_rate,
    CAST(sum(oi_nulls) AS DOUBLE) / sum(row_count) AS oi_null_rate,
    CAST(sum(underlying_price_nulls) AS DOUBLE) / sum(row_count) AS underlying_price_null_rate,
    max(gap_us) / 1e6 AS max_gap_s,
    median(gap_us) / 1e6 AS median_gap_s,
    max(lateness_us) / 1e6 AS max_lateness_s
FROM chains
INNER JOIN gaps USING (date, exchange, symbol, source, event_time)
GROUP BY batch_id, date, exchange
ORDER BY date, exchange, first_event_time, batch_id
