-- purpose: How the open interest of a contract changed over the last 3, 5 and 15 minutes, at every chain.
-- reads: chain_legs
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time, strike, option_type
-- units: oi and its changes in units of the underlying
-- note: The reference is the contract's last chain at or before that long ago, and at most half as long
--   again: 3 to 4.5, 5 to 7.5, 15 to 22.5 minutes old. Null if there is none, or if either has no oi. So a
--   five-minute poll has few three-minute changes: it does not know them.
-- note: Never across session dates nor across sources.
-- note: Unordered. A condition on date, exchange, symbol, expiry, source, strike or option_type reaches the
--   table; for the newest changes add event_time = (SELECT max(event_time) ...) outside.
SELECT
    symbol,
    expiry,
    strike,
    option_type,
    event_time,
    exchange,
    source,
    date,
    oi,
    oi - last_value(oi) OVER (
        contract RANGE BETWEEN 270000000 PRECEDING AND 180000000 PRECEDING
    ) AS oi_change_3m,
    oi - last_value(oi) OVER (
        contract RANGE BETWEEN 450000000 PRECEDING AND 300000000 PRECEDING
    ) AS oi_change_5m,
    oi - last_value(oi) OVER (
        contract RANGE BETWEEN 1350000000 PRECEDING AND 900000000 PRECEDING
    ) AS oi_change_15m
FROM chain_legs
WINDOW contract AS (
    PARTITION BY date, exchange, symbol, expiry, source, strike, option_type
    ORDER BY epoch_us(event_time)
)
