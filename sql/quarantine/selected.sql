-- purpose: The rows of quarantine that are to be tried again, those of one chain one after the other.
-- reads: rejects
-- parameter $reason: one reason, null for all
-- parameter $source: one source, null for all
-- parameter $date: one session date, null for all
-- parameter $exchange: NSE or BSE, null for both
-- parameter $id: one row, null for all
-- grain: one row a reject_id
-- units: size_chars in characters of payload and origin as the table has them
SELECT
    reject_id,
    date,
    exchange,
    origin IS NOT NULL OR stored IS NOT NULL AS retriable,
    length(payload) + coalesce(length(origin), 0) AS size_chars
FROM rejects
WHERE
    NOT closed
    AND coalesce(reason = $reason, true)
    AND coalesce(source = $source, true)
    AND coalesce(date = $date, true)
    AND coalesce(exchange = $exchange, true)
    AND coalesce(reject_id = $id, true)
ORDER BY date, exchange, reject_id
