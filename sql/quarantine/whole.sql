-- purpose: Some rows of quarantine of one partition, all that is kept of them.
-- reads: quarantine
-- parameter $date: their session date
-- parameter $exchange: their exchange
-- parameter $ids: their ids
-- grain: one row a row of quarantine; an input that was taken in twice is there twice
-- units: received_us in microseconds since 1970 UTC
SELECT
    reject_id,
    date,
    exchange,
    epoch_us(received_time) AS received_us,
    "table" AS meant_for,
    reason,
    source,
    payload,
    origin,
    stored
FROM quarantine
WHERE date = $date AND exchange = $exchange AND list_contains($ids, reject_id)
ORDER BY reject_id
