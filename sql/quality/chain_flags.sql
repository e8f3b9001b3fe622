-- purpose: How many rows of each chain have which flags.
-- reads: option_chain
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- parameter $symbol: underlying, '*' for all
-- grain: one row per symbol, source, event_time, expiry, dq_flags
-- units: row_count rows; dq_flags bits, see catalog.dq_flags
SELECT symbol, source, event_time, expiry, dq_flags, count(*) AS row_count
FROM option_chain
WHERE date = $date AND exchange = $exchange AND ($symbol = '*' OR symbol = $symbol)
GROUP BY symbol, source, event_time, expiry, dq_flags
ORDER BY symbol, source, event_time, expiry, dq_flags
