-- purpose: Which chains one session has, to choose from.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- grain: one row per symbol, expiry, source
-- units: chains and row_count are counts
-- note: Nearest expiry first: what trades most comes first within its symbol.
SELECT
    symbol,
    expiry,
    source,
    count(DISTINCT event_time) AS chains,
    count(*) AS row_count,
    min(event_time) AS first_event_time,
    max(event_time) AS last_event_time
FROM option_chain
WHERE exchange = $exchange AND date = $date
GROUP BY symbol, expiry, source
ORDER BY symbol, expiry, source
