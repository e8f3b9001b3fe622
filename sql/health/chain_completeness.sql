-- purpose: Which chains lack strikes that they had within the hour.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $since: UTC, chains before it are not compared with
-- parameter $now: UTC, the moment looked at, at most the session's close
-- grain: one row per symbol, expiry
-- units: chain_completeness_pct percent; legs and most_legs are counts of legs (strike and option_type)
-- note: Compares the fullest of the last three chains with the fullest since $since, so that one answer cut
--   short is no finding, and a feed that stays cut is. Legs received twice count once.
WITH legs AS (
    SELECT symbol, expiry, source, event_time, strike, option_type, max(batch_id) AS batch_id
    FROM option_chain
    WHERE date = $date AND exchange = $exchange AND event_time > $since AND event_time <= $now
    GROUP BY symbol, expiry, source, event_time, strike, option_type
),

chains AS (
    SELECT symbol, expiry, source, event_time, count(*) AS legs, max(batch_id) AS batch_id
    FROM legs
    WHERE expiry >= $date
    GROUP BY symbol, expiry, source, event_time
),

ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY symbol, expiry, source ORDER BY event_time DESC) AS newest_first
    FROM chains
),

sources AS (
    SELECT
        symbol,
        expiry,
        source,
        max(legs) FILTER (WHERE newest_first <= 3) AS legs,
        max(legs) AS most_legs,
        max(event_time) AS newest_event_time,
        arg_max(batch_id, event_time) AS newest_batch_id
    FROM ranked
    GROUP BY symbol, expiry, source
)

SELECT
    symbol,
    expiry,
    min(100.0 * legs / most_legs) AS chain_completeness_pct,
    arg_min(legs, 1.0 * legs / most_legs) AS legs,
    arg_min(most_legs, 1.0 * legs / most_legs) AS most_legs,
    arg_min(source, 1.0 * legs / most_legs) AS source,
    max(newest_event_time) AS newest_event_time,
    arg_max(newest_batch_id, newest_event_time) AS newest_batch_id
FROM sources
GROUP BY symbol, expiry
ORDER BY symbol, expiry
