-- purpose: What the newest health check of each exchange measured.
-- reads: health_metrics
-- parameter $first_date: date, exchange-local, before which no check is looked for
-- parameter $now: UTC, the moment looked at
-- grain: one row per exchange, metric, labels
-- units: value in the unit of its metric
-- note: Metrics without a value are left out: they are not known.
WITH newest AS (
    SELECT
        exchange,
        max(event_time) AS checked_at
    FROM health_metrics
    WHERE date >= $first_date AND event_time <= $now
    GROUP BY exchange
)

SELECT
    health_metrics.exchange,
    health_metrics.metric,
    health_metrics.labels,
    health_metrics.value,
    newest.checked_at
FROM health_metrics
INNER JOIN newest
    ON health_metrics.exchange = newest.exchange AND health_metrics.event_time = newest.checked_at
WHERE health_metrics.date >= $first_date AND health_metrics.value IS NOT NULL
ORDER BY health_metrics.exchange, health_metrics.metric, health_metrics.labels
