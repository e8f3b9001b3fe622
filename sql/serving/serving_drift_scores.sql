-- purpose: How far features are from the training set, for other tools.
-- reads: drift_scores
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per window_end, exchange, symbol, feature, method, dataset
-- units: score and threshold as their method says; effective_n and row_count in rows
SELECT *
FROM drift_scores
WHERE date = $date AND exchange = $exchange
