-- purpose: Calls and puts of the chains that features are made of, side by side.
-- reads: option_chain, feature_chains
-- parameter $exchange: NSE or BSE
-- parameter $date: session date
-- grain: one row per chain, strike
-- units: strikes and underlying_price in rupees; oi and volume in units of the underlying; iv an annualised
--   fraction; vix in points; time_to_expiry_s in seconds
-- note: An iv of 0 is none. Of legs that are in a chain twice, the higher figure counts.
SELECT
    chain,
    strike,
    count(*) FILTER (WHERE option_type = 'CE') > 0 AS has_call,
    count(*) FILTER (WHERE option_type = 'PE') > 0 AS has_put,
    max(oi) FILTER (WHERE option_type = 'CE') AS call_oi,
    max(oi) FILTER (WHERE option_type = 'PE') AS put_oi,
    max(volume) FILTER (WHERE option_type = 'CE') AS call_volume,
    max(volume) FILTER (WHERE option_type = 'PE') AS put_volume,
    max(iv) FILTER (WHERE option_type = 'CE' AND iv > 0) AS call_iv,
    max(iv) FILTER (WHERE option_type = 'PE' AND iv > 0) AS put_iv,
    max(underlying_price) AS underlying_price,
    max(vix) AS vix,
    max(time_to_expiry_s) AS time_to_expiry_s
FROM option_chain
INNER JOIN feature_chains USING (symbol, source, event_time, expiry, received_time)
WHERE date = $date AND exchange = $exchange
GROUP BY chain, strike
