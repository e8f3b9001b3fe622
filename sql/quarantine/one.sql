-- purpose: One row of quarantine, all that the tables have of it.
-- reads: rejects
-- parameter $id: its id, or the beginning of it
-- grain: one row a reject_id; two at most, where the beginning is that of several
-- units: moments in UTC
SELECT
    reject_id,
    date,
    exchange,
    received_time,
    "table" AS meant_for,
    reason,
    detail,
    source,
    batch_id,
    payload,
    origin,
    stored,
    attempts,
    last_retried,
    last_outcome,
    last_reason,
    last_detail,
    closed
FROM rejects
WHERE starts_with(reject_id, $id)
ORDER BY reject_id
LIMIT 2
