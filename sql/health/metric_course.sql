-- purpose: How a metric went in the last hours of a session.
-- reads: health_metrics
-- parameter $exchange: NSE, BSE, or LAKE for what concerns no exchange
-- parameter $date: session date, exchange-local
-- parameter $since: UTC, measurements before it do not count
-- parameter $until: UTC, nor do those after it
-- grain: one row per metric, labels, event_time
-- units: value in the metric's unit
SELECT
    metric,
    labels,
    event_time,
    value
FROM health_metrics
WHERE
    date = $date AND exchange = $exchange AND event_time >= $since AND event_time <= $until
    AND value IS NOT NULL
ORDER BY metric, labels, event_time
