-- purpose: What a day's checks measured of an exchange, summed up.
-- reads: health_metrics
-- parameter $exchange: NSE, BSE, or LAKE for what concerns no exchange
-- parameter $date: date, exchange-local
-- grain: one row per metric, labels
-- units: lowest, middle, highest and last in the metric's unit; measurements and unknown are counts
-- note: unknown counts the checks in which there was no value.
SELECT
    metric,
    labels,
    max(unit) AS unit,
    count(value) AS measurements,
    count(*) - count(value) AS unknown,
    min(value) AS lowest,
    median(value) AS middle,
    max(value) AS highest,
    arg_max(value, event_time) AS last
FROM health_metrics
WHERE date = $date AND exchange = $exchange
GROUP BY metric, labels
ORDER BY metric, labels
