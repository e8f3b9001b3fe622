-- purpose: One row per leg of a chain, also when the chain was received more than once.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time, strike, option_type
-- units: as in option_chain
-- note: A chain is what one source says of one expiry at one event_time. Sources are never mixed: their
--   chains stand side by side, told apart by the column source.
-- note: A poller that asks more often than the exchange renews its chain receives one event_time several
--   times. The row received last counts; of rows received together, the one with the highest batch_id.
-- note: Unordered. A condition on date, exchange, symbol, expiry, source or event_time reaches the table.
SELECT *
FROM option_chain
QUALIFY row_number() OVER (
    PARTITION BY date, exchange, symbol, expiry, source, event_time, strike, option_type
    ORDER BY received_time DESC, batch_id DESC
) = 1
