-- purpose: What one chain says by itself: totals by side, volatilities, max pain, concentration.
-- reads: feature_strikes
-- parameters: none
-- grain: one row per chain
-- units: underlying_price, strikes and max_pain in rupees; ivs annualised fractions; vix in points; oi and
--   volume in units of the underlying; concentrations shares from 0 to 1
-- note: The price of the underlying, the strike at the money, atm_iv and iv_skew are as in the view
--   atm_iv_skew, and max_pain as in the view max_pain. There the payout is summed; here it is found where its
--   slope turns: the payout rises above a strike as soon as the call oi up to it is no less than the put oi
--   beyond it, so max_pain is the lowest strike up to which call and put oi together reach all put oi.
-- note: Concentration is the Herfindahl-Hirschman index of open interest over strikes, the sum of squared
--   shares: 1 if all is at one strike, 1/n if n strikes have the same. A. O. Hirschman, "The paternity of an
--   index", American Economic Review 54 (1964).
-- note: Sums are of whole numbers, so no figure depends on the order of the rows.
WITH walked AS (
    SELECT
        *,
        max(underlying_price) OVER (PARTITION BY chain) AS spot,
        sum(put_oi) OVER (PARTITION BY chain) AS all_put_oi,
        sum(coalesce(call_oi, 0) + coalesce(put_oi, 0)) OVER (PARTITION BY chain ORDER BY strike) AS oi_up_to
    FROM feature_strikes
),

-- The nearest strike is one of two, below and above the target: cheaper than ranking all by distance.
totals AS (
    SELECT
        chain,
        max(spot) AS spot,
        max(vix) AS vix,
        max(time_to_expiry_s) AS time_to_expiry_s,
        sum(call_oi) AS call_oi,
        sum(put_oi) AS put_oi,
        sum(call_volume) AS call_volume,
        sum(put_volume) AS put_volume,
        sum(CAST(call_oi AS DECIMAL(16, 0)) * CAST(call_oi AS DECIMAL(16, 0))) AS call_oi_squares,
        sum(CAST(put_oi AS DECIMAL(16, 0)) * CAST(put_oi AS DECIMAL(16, 0))) AS put_oi_squares,
        min(strike) FILTER (WHERE oi_up_to >= all_put_oi) AS max_pain,
        max(strike) FILTER (WHERE strike <= spot) AS atm_below,
        min(strike) FILTER (WHERE strike > spot) AS atm_above,
        max(strike) FILTER (
            WHERE has_put AND strike >= 0.9625 * spot AND strike <= 0.975 * spot
        ) AS put_below,
        min(strike) FILTER (
            WHERE has_put AND strike > 0.975 * spot AND strike <= 0.9875 * spot
        ) AS put_above,
        max(strike) FILTER (
            WHERE has_call AND strike >= 1.0125 * spot AND strike <= 1.025 * spot
        ) AS call_below,
        min(strike) FILTER (
            WHERE has_call AND strike > 1.025 * spot AND strike <= 1.0375 * spot
        ) AS call_above
    FROM walked
    GROUP BY chain
),

chosen AS (
    SELECT
        *,
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
    FROM totals
),

volatilities AS (
    SELECT
        chain,
        max(call_iv) FILTER (WHERE strike = atm_strike) AS atm_call_iv,
        max(put_iv) FILTER (WHERE strike = atm_strike) AS atm_put_iv,
        max(put_iv) FILTER (WHERE strike = put_strike) AS otm_put_iv,
        max(call_iv) FILTER (WHERE strike = call_strike) AS otm_call_iv
    FROM feature_strikes
    INNER JOIN chosen USING (chain)
    WHERE strike = atm_strike OR strike = put_strike OR strike = call_strike
    GROUP BY chain
)

SELECT
    chain,
    spot AS underlying_price,
    vix,
    time_to_expiry_s,
    call_oi,
    put_oi,
    call_volume,
    put_volume,
    CASE WHEN call_oi + put_oi > 0 THEN max_pain END AS max_pain,
    CAST(call_oi_squares AS DOUBLE) / nullif(CAST(call_oi AS DOUBLE) * CAST(call_oi AS DOUBLE), 0)
        AS call_oi_concentration,
    CAST(put_oi_squares AS DOUBLE) / nullif(CAST(put_oi AS DOUBLE) * CAST(put_oi AS DOUBLE), 0)
        AS put_oi_concentration,
    coalesce((atm_call_iv + atm_put_iv) / 2, atm_call_iv, atm_put_iv) AS atm_iv,
    otm_put_iv - otm_call_iv AS iv_skew
FROM chosen
LEFT JOIN volatilities USING (chain)
