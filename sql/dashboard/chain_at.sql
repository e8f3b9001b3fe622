-- purpose: One chain as it was at a moment, calls and puts side by side.
-- reads: chain_legs
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $symbol: underlying
-- parameter $expiry: expiry date
-- parameter $source: source adapter, or live
-- parameter $at: UTC; the last chain at or before it is shown
-- grain: one row per strike
-- units: prices and strikes in rupees; oi, oi_change and volume in units of the underlying; iv an annualised
--   fraction
WITH legs AS (
    SELECT *
    FROM chain_legs
    WHERE
        exchange = $exchange AND date = $date AND symbol = $symbol AND expiry = $expiry
        AND source = $source AND event_time <= $at
    QUALIFY event_time = max(event_time) OVER ()
)

SELECT
    event_time,
    strike,
    max(received_time) AS received_time,
    max(oi) FILTER (WHERE option_type = 'CE') AS call_oi,
    max(oi) FILTER (WHERE option_type = 'PE') AS put_oi,
    max(oi_change) FILTER (WHERE option_type = 'CE') AS call_oi_change,
    max(oi_change) FILTER (WHERE option_type = 'PE') AS put_oi_change,
    max(volume) FILTER (WHERE option_type = 'CE') AS call_volume,
    max(volume) FILTER (WHERE option_type = 'PE') AS put_volume,
    max(ltp) FILTER (WHERE option_type = 'CE') AS call_ltp,
    max(ltp) FILTER (WHERE option_type = 'PE') AS put_ltp,
    max(iv) FILTER (WHERE option_type = 'CE') AS call_iv,
    max(iv) FILTER (WHERE option_type = 'PE') AS put_iv
FROM legs
GROUP BY event_time, strike
ORDER BY strike
