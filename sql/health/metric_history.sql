-- purpose: What some metrics were at the same time of day in the sessions before.
-- reads: health_metrics
-- parameter $exchange: NSE or BSE
-- parameter $metrics: names of the metrics, a list
-- parameter $first_date: first session date looked at
-- parameter $date: session date, exchange-local; it and later ones are left out
-- parameter $from_s: seconds after midnight UTC, start of the time of day
-- parameter $until_s: seconds after midnight UTC, end of the time of day
-- grain: one row per metric, labels, date
-- units: value in the metric's unit; measurements is a count
-- note: The median of a session's measurements around that time of day: one that went astray counts little.
SELECT
    metric,
    labels,
    date,
    median(value) AS value,
    count(*) AS measurements
FROM health_metrics
WHERE
    date >= $first_date AND date < $date AND exchange = $exchange AND value IS NOT NULL
    AND list_contains($metrics, metric)
    AND epoch_us(event_time) // 1000000 % 86400 BETWEEN $from_s AND $until_s
GROUP BY metric, labels, date
ORDER BY metric, labels, date
