-- purpose: Every row of quarantine, under an id, with what became of it when it was tried again.
-- reads: quarantine, quarantine_retries
-- parameters: none
-- grain: one row a reject_id
-- units: attempts counts; the moments are UTC
-- note: A table made by an earlier version lacks reject_id, origin and stored. Its rows get an id from their
--   content; without an origin they cannot be tried again. The same input that was taken in twice, as after
--   the loss of a spool, has the same id and is one row.
WITH widened AS (
    SELECT * FROM quarantine
    UNION ALL BY NAME
    SELECT
        CAST(NULL AS VARCHAR) AS reject_id,
        CAST(NULL AS VARCHAR) AS origin,
        CAST(NULL AS VARCHAR) AS stored
    WHERE false
),

keyed AS (
    SELECT
        * EXCLUDE (reject_id),
        reject_id IS NULL AS is_old,
        coalesce(
            reject_id,
            'old-' || md5(
                concat_ws(
                    chr(10), batch_id, epoch_us(received_time), "table", reason, detail, payload, source
                )
            )
        ) AS key
    FROM widened
),

numbered AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY key ORDER BY received_time, batch_id) AS number
    FROM keyed
),

once AS (
    SELECT
        * EXCLUDE (key, number, is_old),
        CASE WHEN is_old THEN key || '-' || number ELSE key END AS reject_id
    FROM numbered
    WHERE is_old OR number = 1
),

tried AS (
    SELECT
        reject_id AS tried_id,
        count(*) AS attempts,
        max(retried_time) AS last_retried,
        arg_max(outcome, retried_time) AS last_outcome,
        arg_max(reason, retried_time) AS last_reason,
        arg_max(detail, retried_time) AS last_detail,
        bool_or(outcome <> 'failed') AS closed
    FROM quarantine_retries
    GROUP BY reject_id
)

SELECT
    once.*,
    coalesce(attempts, 0) AS attempts,
    last_retried,
    last_outcome,
    last_reason,
    last_detail,
    coalesce(closed, false) AS closed
FROM once
LEFT JOIN tried ON tried_id = reject_id
