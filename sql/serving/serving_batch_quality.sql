-- purpose: The quality of each micro-batch of chains, for other tools.
-- reads: batch_quality
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per batch_id, date, exchange
-- units: *_null_rate a fraction of the rows (0 to 1); *_s seconds; the others are counts
SELECT *
FROM batch_quality
WHERE date = $date AND exchange = $exchange
