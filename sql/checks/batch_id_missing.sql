-- purpose: Chains with rows that belong to no micro-batch, which no audit can trace; none means all can be.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time with such rows
-- units: row_count is a count
SELECT
    exchange,
    symbol,
    expiry,
    event_time,
    count(*) AS row_count,
    source,
    date
FROM option_chain
WHERE batch_id IS NULL OR trim(batch_id) = ''
GROUP BY date, exchange, symbol, expiry, source, event_time
ORDER BY exchange, symbol, expiry, source, event_time
