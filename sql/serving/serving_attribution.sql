-- purpose: What features add to the scores of a model, session by session, for other tools.
-- reads: attribution
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per model_version, exchange, sample, date, feature, class
-- units: mean, mean_absolute and std in log-odds; row_count in rows
SELECT *
FROM attribution
WHERE date = $date AND exchange = $exchange
