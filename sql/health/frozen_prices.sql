-- purpose: For how long the price of an underlying has not moved while its chains went on.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $since: UTC, chains before it are not looked at
-- parameter $now: UTC, the moment looked at, at most the session's close
-- grain: one row per symbol
-- units: price_frozen_s seconds; last_price in rupees; chains is a count
-- note: From the first chain that had the newest price: a feed that comes back after a pause is not frozen.
-- note: A symbol without a price has no row.
-- note: A source that repeats its last answer with a new time is found by this alone. An index that trades
--   changes within seconds.
WITH prices AS (
    SELECT symbol, event_time, max(underlying_price) AS price, max(batch_id) AS batch_id
    FROM option_chain
    WHERE
        date = $date AND exchange = $exchange AND event_time > $since AND event_time <= $now
        AND underlying_price IS NOT NULL
    GROUP BY symbol, event_time
),

ranked AS (
    SELECT
        *,
        last_value(price) OVER (
            PARTITION BY symbol ORDER BY event_time
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS last_price
    FROM prices
),

moves AS (
    SELECT
        *,
        max(event_time) FILTER (WHERE price <> last_price) OVER (PARTITION BY symbol) AS last_other
    FROM ranked
)

SELECT
    symbol,
    (
        epoch_us(max(event_time))
        - epoch_us(min(event_time) FILTER (WHERE last_other IS NULL OR event_time > last_other))
    ) / 1e6 AS price_frozen_s,
    max(last_price) AS last_price,
    max(event_time) AS newest_event_time,
    arg_max(batch_id, event_time) AS newest_batch_id,
    count(*) AS chains
FROM moves
GROUP BY symbol
ORDER BY symbol
