-- purpose: How every metric went of late, for the small lines beside the rules.
-- reads: health_metrics
-- parameter $first_date: first date looked at, exchange-local
-- parameter $points: measurements of each series at most, the newest
-- grain: one row per exchange, metric, labels, event_time
-- units: value in the metric's unit; a measurement without a value is null
SELECT
    exchange,
    metric,
    labels,
    event_time,
    value
FROM health_metrics
WHERE date >= $first_date
QUALIFY row_number() OVER (PARTITION BY exchange, metric, labels ORDER BY event_time DESC) <= $points
ORDER BY exchange, metric, labels, event_time
