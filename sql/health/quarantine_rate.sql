-- purpose: Which share of what came in the last minutes went to quarantine, and for which reason most.
-- reads: quarantine, option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $since: UTC, what was received before it does not count
-- parameter $now: UTC, the moment looked at
-- grain: one row
-- units: quarantine_rate_pct percent of the rows received; the others are counts
-- note: Null where nothing was received at all. Features count among the rejected, but not among the kept.
WITH reasons AS (
    SELECT reason, count(*) AS row_count, max(received_time) AS newest, max(batch_id) AS batch_id
    FROM quarantine
    WHERE date = $date AND exchange = $exchange AND received_time > $since AND received_time <= $now
    GROUP BY reason
),

rejected AS (
    SELECT
        coalesce(CAST(sum(row_count) AS BIGINT), 0) AS quarantined_rows,
        arg_max(reason, row_count) AS commonest_reason,
        max(newest) AS newest_received_time,
        max(batch_id) AS newest_batch_id
    FROM reasons
),

kept AS (
    SELECT count(*) AS kept_rows
    FROM option_chain
    WHERE date = $date AND exchange = $exchange AND received_time > $since AND received_time <= $now
)

SELECT
    100.0 * quarantined_rows / nullif(quarantined_rows + kept_rows, 0) AS quarantine_rate_pct,
    quarantined_rows,
    kept_rows,
    commonest_reason,
    newest_received_time,
    newest_batch_id
FROM rejected
CROSS JOIN kept
