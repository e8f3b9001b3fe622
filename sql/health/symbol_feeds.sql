-- purpose: Which underlyings, and which of their expiries, fell behind the rest of the exchange's feed.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $previous_date: the session before it
-- parameter $open: UTC, when the session opened
-- parameter $now: UTC, the moment looked at, at most the session's close
-- parameter $quiet_s: seconds after which an expiry counts as quiet
-- grain: one row per symbol
-- units: symbol_lag_s seconds; quiet_expiries is a count
-- note: Asked of what the session or the one before it had. The lag is behind the newest chain of the
--   exchange: when the whole feed stands still, no underlying is behind.
-- note: An expiry is quiet that had a chain this session, and whose newest is $quiet_s older than its
--   symbol's.
WITH expiries AS (
    SELECT
        symbol,
        expiry,
        max(event_time) FILTER (WHERE date = $date) AS newest_event_time,
        arg_max(batch_id, event_time) AS newest_batch_id
    FROM option_chain
    WHERE date IN ($date, $previous_date) AND exchange = $exchange AND event_time <= $now
    GROUP BY symbol, expiry
),

symbols AS (
    SELECT
        *,
        max(newest_event_time) OVER (PARTITION BY symbol) AS symbol_newest,
        max(newest_event_time) OVER () AS exchange_newest
    FROM expiries
)

SELECT
    symbol,
    (epoch_us(max(exchange_newest)) - epoch_us(greatest(coalesce(max(symbol_newest), $open), $open))) / 1e6
    AS symbol_lag_s,
    count(*) FILTER (
        WHERE expiry >= $date AND epoch_us(symbol_newest) - epoch_us(newest_event_time) > $quiet_s * 1000000
    ) AS quiet_expiries,
    min(CAST(expiry AS VARCHAR)) FILTER (
        WHERE expiry >= $date AND epoch_us(symbol_newest) - epoch_us(newest_event_time) > $quiet_s * 1000000
    ) AS first_quiet_expiry,
    max(symbol_newest) AS newest_event_time,
    max(exchange_newest) AS exchange_newest_event_time,
    coalesce(arg_max(newest_batch_id, newest_event_time), max(newest_batch_id)) AS newest_batch_id
FROM symbols
WHERE exchange_newest >= $open
GROUP BY symbol
ORDER BY symbol
