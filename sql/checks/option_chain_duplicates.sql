-- purpose: Legs stored more than once for one event_time; none means every leg is there once.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, event_time, strike, option_type stored twice or more
-- units: row_count, receptions, sources and batches are counts
-- note: receptions > 1: the chain was handed over again before the exchange renewed it; the views take the
--   last. sources > 1: two sources tell of one leg; the views keep them apart. Both 1: written twice.
WITH repeated AS (
    SELECT date, exchange, symbol, expiry, event_time, strike, option_type
    FROM option_chain
    GROUP BY date, exchange, symbol, expiry, event_time, strike, option_type
    HAVING count(*) > 1
)

SELECT
    exchange,
    symbol,
    expiry,
    strike,
    option_type,
    event_time,
    count(*) AS row_count,
    count(DISTINCT received_time) AS receptions,
    count(DISTINCT source) AS sources,
    count(DISTINCT batch_id) AS batches,
    date
FROM option_chain
INNER JOIN repeated USING (date, exchange, symbol, expiry, event_time, strike, option_type)
GROUP BY date, exchange, symbol, expiry, event_time, strike, option_type
ORDER BY exchange, symbol, event_time, expiry, strike, option_type
