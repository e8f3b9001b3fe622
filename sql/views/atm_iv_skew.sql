-- purpose: Implied volatility at the money, and how much more puts cost than calls, at every chain.
-- reads: chain_legs
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time
-- units: strikes and underlying_price in rupees; ivs and skew annualised fractions (0.01 = 1 vol point)
-- note: atm_strike is the listed strike nearest to underlying_price; atm_iv the mean of its call's and put's
--   iv, or the one there is.
-- note: skew = iv of the put nearest to 97.5 % of underlying_price, less iv of the call nearest to 102.5 %.
--   Positive: falls cost more to insure than rises to own. 2.5 % is about one and a half standard deviations
--   of a week at an iv of 12 %, so near expiries still trade there. A wing must lie 1.25 to 3.75 % out of the
--   money, else it has no strike: a chain cut close to the money has an atm_iv but no skew.
-- note: Of two strikes equally near, the lower. Null where the iv is missing at the strike chosen; no
--   other strike stands in for it. Several sources send no iv at all.
-- note: underlying_price is the chain's: the highest of its legs, which agree unless the source is faulty.
WITH legs AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        strike,
        option_type,
        iv,
        max(underlying_price) OVER (
            PARTITION BY date, exchange, symbol, expiry, source, event_time
        ) AS spot
    FROM chain_legs
),

-- The nearest strike is one of two, below and above the target: cheaper than ranking all by distance.
neighbours AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        max(spot) AS spot,
        max(strike) FILTER (WHERE strike <= spot) AS atm_below,
        min(strike) FILTER (WHERE strike > spot) AS atm_above,
        max(strike) FILTER (
            WHERE option_type = 'PE' AND strike >= 0.9625 * spot AND strike <= 0.975 * spot
        ) AS put_below,
        min(strike) FILTER (
            WHERE option_type = 'PE' AND strike > 0.975 * spot AND strike <= 0.9875 * spot
        ) AS put_above,
        max(strike) FILTER (
            WHERE option_type = 'CE' AND strike >= 1.0125 * spot AND strike <= 1.025 * spot
        ) AS call_below,
        min(strike) FILTER (
            WHERE option_type = 'CE' AND strike > 1.025 * spot AND strike <= 1.0375 * spot
        ) AS call_above
    FROM legs
    GROUP BY date, exchange, symbol, expiry, source, event_time
),

-- With a neighbour missing the comparison is null, and coalesce finds the other one.
chosen AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        spot,
        CASE
            WHEN spot - atm_below > atm_above - spot THEN atm_above
            ELSE coalesce(atm_below, atm_above)
        END AS atm_strike,
        CASE
            WHEN 0.975 * spot - put_below > put_above - 0.975 * spot THEN put_above
            ELSE coalesce(put_below, put_above)
        END AS put_strike,
        CASE
            WHEN 1.025 * spot - call_below > call_above - 1.025 * spot THEN call_above
            ELSE coalesce(call_below, call_above)
        END AS call_strike
    FROM neighbours
),

volatilities AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        chosen.spot AS underlying_price,
        atm_strike,
        put_strike,
        call_strike,
        avg(iv) FILTER (WHERE strike = atm_strike) AS atm_iv,
        max(iv) FILTER (WHERE option_type = 'PE' AND strike = put_strike) AS put_iv,
        max(iv) FILTER (WHERE option_type = 'CE' AND strike = call_strike) AS call_iv
    FROM legs
    INNER JOIN chosen USING (date, exchange, symbol, expiry, source, event_time)
    GROUP BY
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        chosen.spot,
        atm_strike,
        put_strike,
        call_strike
)

SELECT
    symbol,
    expiry,
    event_time,
    exchange,
    source,
    date,
    underlying_price,
    put_strike,
    put_iv,
    call_strike,
    call_iv,
    atm_strike,
    atm_iv,
    put_iv - call_iv AS skew
FROM volatilities
ORDER BY exchange, symbol, expiry, source, event_time
