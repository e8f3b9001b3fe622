-- purpose: Chains in which the day's volume of a contract is lower than before; none means it only grows.
-- reads: chain_legs
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time, strike, option_type that fell
-- units: volumes in units of the underlying, cumulative since the open
-- note: Volume is compared within a date and a source. A fall is a stale answer, two feeds in one stream, or
--   yesterday's totals shown before the open.
WITH steps AS (
    SELECT
        exchange,
        symbol,
        expiry,
        strike,
        option_type,
        event_time,
        volume,
        lag(volume) OVER contract AS previous_volume,
        lag(event_time) OVER contract AS previous_event_time,
        source,
        batch_id,
        date
    FROM chain_legs
    WHERE volume IS NOT NULL
    WINDOW contract AS (
        PARTITION BY date, exchange, symbol, expiry, source, strike, option_type
        ORDER BY event_time
    )
)

SELECT *
FROM steps
WHERE volume < previous_volume
ORDER BY exchange, symbol, event_time, expiry, strike, option_type
