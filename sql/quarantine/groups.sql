-- purpose: What is in quarantine, by reason and source, with an example of each.
-- reads: rejects
-- parameter $reason: one reason, null for all
-- parameter $source: one source, null for all
-- parameter $date: one session date, null for all
-- parameter $exchange: NSE or BSE, null for both
-- parameter $all: boolean, whether rows that came in since count, too
-- grain: one row a reason, source and table
-- units: row_count and attempted in rows
SELECT
    reason,
    source,
    count(*) AS row_count,
    count(*) FILTER (WHERE attempts > 0) AS attempted,
    count(*) FILTER (WHERE closed) AS came_in,
    count(*) FILTER (WHERE origin IS NULL AND stored IS NULL) AS not_retriable,
    min(date) AS first_date,
    max(date) AS last_date,
    "table" AS meant_for,
    arg_min(reject_id, (closed, date, reject_id)) AS example,
    arg_min(left(detail, 200), (closed, date, reject_id)) AS detail
FROM rejects
WHERE
    ($all OR NOT closed)
    AND coalesce(reason = $reason, true)
    AND coalesce(source = $source, true)
    AND coalesce(date = $date, true)
    AND coalesce(exchange = $exchange, true)
GROUP BY reason, source, "table"
ORDER BY row_count DESC, reason, source, meant_for
