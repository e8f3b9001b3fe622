-- purpose: One metric as a check recorded it.
-- reads: health_metrics
-- parameter $exchange: NSE, BSE, or LAKE for what concerns no exchange
-- parameter $date: session date, exchange-local
-- parameter $metric: name of the metric
-- parameter $now: UTC, when it was measured
-- grain: one row per labels
-- units: value in the unit that the row names
SELECT
    metric,
    exchange,
    labels,
    event_time,
    value,
    unit,
    batch_id
FROM health_metrics
WHERE date = $date AND exchange = $exchange AND metric = $metric AND event_time = $now
ORDER BY labels
