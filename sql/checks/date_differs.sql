-- purpose: Chains filed under a date that is not their event_time's; none means date conditions lose nothing.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time so misfiled
-- units: date and event_date are exchange-local dates; row_count is a count
-- note: Both exchanges keep +05:30 (19,800 s) all year, and no session crosses midnight, so the date is that
--   of the epoch shifted by it, whatever the TimeZone of the session.
WITH legs AS (
    SELECT
        exchange,
        symbol,
        expiry,
        event_time,
        date,
        DATE '1970-01-01' + CAST(
            (epoch_us(event_time) + 19800000000) // 86400000000 AS INTEGER
        ) AS event_date,
        source
    FROM option_chain
)

SELECT
    exchange,
    symbol,
    expiry,
    event_time,
    date,
    event_date,
    count(*) AS row_count,
    source
FROM legs
WHERE date <> event_date
GROUP BY exchange, symbol, expiry, event_time, date, event_date, source
ORDER BY exchange, symbol, expiry, event_time, source
