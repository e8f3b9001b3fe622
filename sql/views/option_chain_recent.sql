-- purpose: The rows of the newest sessions: what questions about now are asked of.
-- reads: option_chain, option_chain_partitions
-- parameters: none
-- grain: one row per batch_id, date, exchange, symbol, expiry, source, event_time, received_time, strike,
--   option_type
-- units: as in option_chain
-- note: The five newest session dates of each exchange, so that a question about now costs the same however
--   old the lake is. strikelake's own sessions name just their files; the statement is the definition.
-- note: Unordered.
SELECT *
FROM option_chain
WHERE (date, exchange) IN (
    SELECT date, exchange
    FROM option_chain_partitions
    QUALIFY row_number() OVER (PARTITION BY exchange ORDER BY date DESC) <= 5
)
