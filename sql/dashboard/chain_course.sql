-- purpose: The put-call ratios and the underlying at every chain of a session: the day's course, and where a
--   slider can stop.
-- reads: chain_legs
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $symbol: underlying
-- parameter $expiry: expiry date
-- parameter $source: source adapter, or live
-- grain: one row per event_time
-- units: pcr_oi and pcr_volume ratios; underlying_price rupees; call_oi and put_oi units of the underlying
-- note: pcr_oi = put OI / call OI, pcr_volume = put volume / call volume, as in the view pcr_5m; null where
--   the call side is zero or a side is missing.
WITH chains AS (
    SELECT
        event_time,
        CAST(sum(oi) FILTER (WHERE option_type = 'PE') AS BIGINT) AS put_oi,
        CAST(sum(oi) FILTER (WHERE option_type = 'CE') AS BIGINT) AS call_oi,
        CAST(sum(volume) FILTER (WHERE option_type = 'PE') AS BIGINT) AS put_volume,
        CAST(sum(volume) FILTER (WHERE option_type = 'CE') AS BIGINT) AS call_volume,
        max(underlying_price) AS underlying_price
    FROM chain_legs
    WHERE
        exchange = $exchange AND date = $date AND symbol = $symbol AND expiry = $expiry
        AND source = $source
    GROUP BY event_time
)

SELECT
    event_time,
    call_oi,
    put_oi,
    CAST(put_oi AS DOUBLE) / nullif(call_oi, 0) AS pcr_oi,
    CAST(put_volume AS DOUBLE) / nullif(call_volume, 0) AS pcr_volume,
    underlying_price
FROM chains
ORDER BY event_time
