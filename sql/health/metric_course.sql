-- purpose: How some metrics went in the last hours, and what they were just before.
-- reads: health_metrics
-- parameter $exchange: NSE, BSE, or LAKE for what concerns no exchange
-- parameter $metrics: names of the metrics, a list
-- parameter $first_date: first date looked at, exchange-local
-- parameter $date: last date looked at
-- parameter $since: UTC, start of the hours
-- grain: one row per metric, labels, event_time
-- units: value in the metric's unit
WITH measured AS (
    SELECT
        metric,
        labels,
        date,
        event_time,
        value,
        max(event_time) FILTER (WHERE event_time <= $since) OVER (PARTITION BY metric, labels) AS before
    FROM health_metrics
    WHERE
        date >= $first_date AND date <= $date AND exchange = $exchange AND value IS NOT NULL
        AND list_contains($metrics, metric)
)

SELECT
    metric,
    labels,
    date,
    event_time,
    value
FROM measured
WHERE event_time > $since OR event_time = before
ORDER BY metric, labels, event_time
