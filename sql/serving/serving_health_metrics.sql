-- purpose: What health checks measured, for other tools.
-- reads: health_metrics
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per event_time, exchange, metric, labels
-- units: value in the unit that stands beside it
SELECT *
FROM health_metrics
WHERE date = $date AND exchange = $exchange
