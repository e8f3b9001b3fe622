-- purpose: The newest chain of every expiry, calls and puts side by side.
-- reads: option_chain_recent
-- parameters: none
-- grain: one row per exchange, symbol, expiry, strike
-- units: prices and strikes in rupees; oi, oi_change and volume in units of the underlying; iv an annualised
--   fraction; moneyness = strike / underlying_price, a ratio, 1 at the money
-- note: The whole chain comes from one source: the newest event_time wins, then the one received last, then
--   the first source by name. Legs received more than once: the last received counts.
-- note: underlying_price is the chain's: the highest of its legs, which agree unless the source is faulty.
-- note: call_oi_change and put_oi_change are the source's own, against the last close.
-- note: Looked for in the five newest session dates of each exchange, so that the cost does not grow with the
--   age of the lake; a contract that had no chain on any of them is not here. Expired contracts keep their
--   last chain that long; for what still trades ask WHERE expiry >= current_date.
WITH newest_date AS (
    -- First by date alone, which reads columns of few values; then within that date.
    SELECT exchange, symbol, expiry, max(date) AS date
    FROM option_chain_recent
    GROUP BY exchange, symbol, expiry
),

newest AS (
    SELECT exchange, symbol, expiry, event_time, source, date
    FROM option_chain_recent
    INNER JOIN newest_date USING (exchange, symbol, expiry, date)
    GROUP BY exchange, symbol, expiry, event_time, source, date
    QUALIFY row_number() OVER (
        PARTITION BY exchange, symbol, expiry
        ORDER BY event_time DESC, max(received_time) DESC, source
    ) = 1
),

-- Not chain_legs: choosing the chains first leaves few rows to tell apart.
legs AS (
    SELECT option_chain_recent.*
    FROM option_chain_recent
    INNER JOIN newest USING (exchange, symbol, expiry, event_time, source, date)
    QUALIFY row_number() OVER (
        PARTITION BY exchange, symbol, expiry, event_time, source, strike, option_type
        ORDER BY received_time DESC, batch_id DESC
    ) = 1
),

strikes AS (
    SELECT
        exchange,
        symbol,
        expiry,
        strike,
        max(ltp) FILTER (WHERE option_type = 'CE') AS call_ltp,
        max(ltp) FILTER (WHERE option_type = 'PE') AS put_ltp,
        max(oi) FILTER (WHERE option_type = 'CE') AS call_oi,
        max(oi) FILTER (WHERE option_type = 'PE') AS put_oi,
        max(iv) FILTER (WHERE option_type = 'CE') AS call_iv,
        max(iv) FILTER (WHERE option_type = 'PE') AS put_iv,
        max(volume) FILTER (WHERE option_type = 'CE') AS call_volume,
        max(volume) FILTER (WHERE option_type = 'PE') AS put_volume,
        max(oi_change) FILTER (WHERE option_type = 'CE') AS call_oi_change,
        max(oi_change) FILTER (WHERE option_type = 'PE') AS put_oi_change,
        max(bid) FILTER (WHERE option_type = 'CE') AS call_bid,
        max(ask) FILTER (WHERE option_type = 'CE') AS call_ask,
        max(bid) FILTER (WHERE option_type = 'PE') AS put_bid,
        max(ask) FILTER (WHERE option_type = 'PE') AS put_ask,
        max(max(underlying_price)) OVER (PARTITION BY exchange, symbol, expiry) AS underlying_price,
        event_time,
        source,
        date
    FROM legs
    GROUP BY exchange, symbol, expiry, strike, event_time, source, date
)

SELECT
    symbol,
    expiry,
    strike,
    event_time,
    exchange,
    source,
    date,
    underlying_price,
    strike / underlying_price AS moneyness,
    call_bid,
    call_ask,
    put_bid,
    put_ask,
    call_volume,
    put_volume,
    call_oi_change,
    put_oi_change,
    call_iv,
    put_iv,
    call_oi,
    put_oi,
    call_ltp,
    put_ltp
FROM strikes
ORDER BY exchange, symbol, expiry, strike
