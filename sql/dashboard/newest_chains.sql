-- purpose: The newest chain of every underlying, for the page to say how fresh each is.
-- reads: option_chain_recent
-- parameters: none
-- grain: one row per exchange, symbol
-- units: times UTC; underlying_price rupees
SELECT
    exchange,
    symbol,
    max(event_time) AS newest_event_time,
    max(received_time) AS newest_received_time,
    arg_max(underlying_price, event_time) AS underlying_price,
    arg_max(batch_id, event_time) AS newest_batch_id
FROM option_chain_recent
GROUP BY exchange, symbol
ORDER BY exchange, symbol
