-- purpose: What is marked on a chain's charts: max pain, the money, and how volatility leans.
-- reads: max_pain, atm_iv_skew
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $symbol: underlying
-- parameter $expiry: expiry date
-- parameter $source: source adapter, or live
-- parameter $at: UTC, event_time of the chain
-- grain: one row, none without such a chain
-- units: max_pain, atm_strike and underlying_price in rupees; atm_iv and skew annualised fractions
WITH pain AS (
    SELECT
        event_time,
        max_pain
    FROM max_pain
    WHERE
        exchange = $exchange AND date = $date AND symbol = $symbol AND expiry = $expiry
        AND source = $source AND event_time = $at
)

SELECT
    event_time,
    pain.max_pain,
    atm_strike,
    atm_iv,
    skew,
    underlying_price
FROM atm_iv_skew
INNER JOIN pain USING (event_time)
WHERE
    exchange = $exchange AND date = $date AND symbol = $symbol AND expiry = $expiry
    AND source = $source AND event_time = $at
