-- purpose: Every feature of one session, made of its option chains alone.
-- reads: feature_rows, feature_figures, feature_changes, feature_volatility
-- parameter $exchange: NSE or BSE
-- parameter $date: session date
-- parameter $open: UTC, when the session opens
-- parameter $close: UTC, when it closes
-- grain: one row per event_time, date, exchange, symbol
-- units: of returns, natural logarithms; of *_oi_change_* and *_volume_change_*, fractions of the side's
--   open interest then; of ivs, realised volatility, skew and slope, annualised fractions (0.01 = 1 vol
--   point); of vix and its change, points; the others are ratios but for what their names say
-- note: *_3m, *_5m, *_15m compare with the chain of that long ago (see feature_rows), null where there is
--   none.
-- note: trend is return_15m in units of the move that realised_volatility_15m leads one to expect in fifteen
--   minutes.
-- note: Changes of open interest, of volume and of pcr_oi are over contracts in both chains (see
--   feature_changes). *_volume_change_* is what was traded in between over the side's open interest then,
--   null where the volume fell, which it never does but by a fault of the source. pcr_oi_change_* is the
--   ratio now less the ratio then.
-- note: pcr_oi and pcr_volume are puts over calls of the whole chain, as in the view pcr_5m.
-- note: iv_term_slope is atm_iv of the next expiry less that of the nearest: negative where the near future
--   is held to be the less certain. atm_iv_change_15m follows the money: the strike may be another one.
-- note: max_pain_distance is max_pain / underlying_price - 1. Concentrations: see feature_figures.
-- note: days_to_expiry runs to the close of the expiry's session, with fractions. session_elapsed is 0 at
--   the open and 1 at the close.
-- note: known_time, is_live and chain are for the steps that follow; they are no features.
SELECT
    event_time,
    CAST($date AS DATE) AS date,
    CAST($exchange AS VARCHAR) AS exchange,
    symbol,
    source,
    known_time,
    is_live,
    feature_rows.chain,
    ln(f.underlying_price / f3.underlying_price) AS return_3m,
    ln(f.underlying_price / f5.underlying_price) AS return_5m,
    ln(f.underlying_price / f15.underlying_price) AS return_15m,
    v.realised_volatility_15m,
    ln(f.underlying_price / f15.underlying_price)
        / nullif(v.realised_volatility_15m * sqrt(900.0 / 5670000), 0) AS trend,
    CAST(c3.call_oi - c3.call_oi_then AS DOUBLE) / nullif(c3.call_oi_then, 0) AS call_oi_change_3m,
    CAST(c5.call_oi - c5.call_oi_then AS DOUBLE) / nullif(c5.call_oi_then, 0) AS call_oi_change_5m,
    CAST(c15.call_oi - c15.call_oi_then AS DOUBLE) / nullif(c15.call_oi_then, 0) AS call_oi_change_15m,
    CAST(c3.put_oi - c3.put_oi_then AS DOUBLE) / nullif(c3.put_oi_then, 0) AS put_oi_change_3m,
    CAST(c5.put_oi - c5.put_oi_then AS DOUBLE) / nullif(c5.put_oi_then, 0) AS put_oi_change_5m,
    CAST(c15.put_oi - c15.put_oi_then AS DOUBLE) / nullif(c15.put_oi_then, 0) AS put_oi_change_15m,
    CAST(CASE WHEN c3.call_volume >= 0 THEN c3.call_volume END AS DOUBLE) / nullif(c3.call_oi_then, 0)
        AS call_volume_change_3m,
    CAST(CASE WHEN c5.call_volume >= 0 THEN c5.call_volume END AS DOUBLE) / nullif(c5.call_oi_then, 0)
        AS call_volume_change_5m,
    CAST(CASE WHEN c15.call_volume >= 0 THEN c15.call_volume END AS DOUBLE) / nullif(c15.call_oi_then, 0)
        AS call_volume_change_15m,
    CAST(CASE WHEN c3.put_volume >= 0 THEN c3.put_volume END AS DOUBLE) / nullif(c3.put_oi_then, 0)
        AS put_volume_change_3m,
    CAST(CASE WHEN c5.put_volume >= 0 THEN c5.put_volume END AS DOUBLE) / nullif(c5.put_oi_then, 0)
        AS put_volume_change_5m,
    CAST(CASE WHEN c15.put_volume >= 0 THEN c15.put_volume END AS DOUBLE) / nullif(c15.put_oi_then, 0)
        AS put_volume_change_15m,
    CAST(f.put_oi AS DOUBLE) / nullif(f.call_oi, 0) AS pcr_oi,
    CAST(c3.put_oi AS DOUBLE) / nullif(c3.call_oi, 0)
        - CAST(c3.put_oi_then AS DOUBLE) / nullif(c3.call_oi_then, 0) AS pcr_oi_change_3m,
    CAST(c5.put_oi AS DOUBLE) / nullif(c5.call_oi, 0)
        - CAST(c5.put_oi_then AS DOUBLE) / nullif(c5.call_oi_then, 0) AS pcr_oi_change_5m,
    CAST(c15.put_oi AS DOUBLE) / nullif(c15.call_oi, 0)
        - CAST(c15.put_oi_then AS DOUBLE) / nullif(c15.call_oi_then, 0) AS pcr_oi_change_15m,
    CAST(f.put_volume AS DOUBLE) / nullif(f.call_volume, 0) AS pcr_volume,
    f.call_oi_concentration,
    f.put_oi_concentration,
    f.max_pain / f.underlying_price - 1 AS max_pain_distance,
    f.atm_iv,
    f.atm_iv - f15.atm_iv AS atm_iv_change_15m,
    f.iv_skew,
    n.atm_iv - f.atm_iv AS iv_term_slope,
    f.vix,
    f.vix - f15.vix AS vix_change_15m,
    f.time_to_expiry_s / 86400 AS days_to_expiry,
    CAST(epoch_us(event_time) - epoch_us(CAST($open AS TIMESTAMPTZ)) AS DOUBLE)
        / (epoch_us(CAST($close AS TIMESTAMPTZ)) - epoch_us(CAST($open AS TIMESTAMPTZ))) AS session_elapsed,
    (epoch_us(CAST($close AS TIMESTAMPTZ)) - epoch_us(event_time)) / 6e7 AS minutes_to_close
FROM feature_rows
INNER JOIN feature_figures AS f ON feature_rows.chain = f.chain
INNER JOIN feature_volatility AS v ON feature_rows.chain = v.chain
LEFT JOIN feature_figures AS n ON feature_rows.next_chain = n.chain
LEFT JOIN feature_changes AS c3 ON feature_rows.chain = c3.chain AND c3.minutes = 3
LEFT JOIN feature_changes AS c5 ON feature_rows.chain = c5.chain AND c5.minutes = 5
LEFT JOIN feature_changes AS c15 ON feature_rows.chain = c15.chain AND c15.minutes = 15
LEFT JOIN feature_figures AS f3 ON feature_rows.chain_3m = f3.chain
LEFT JOIN feature_figures AS f5 ON feature_rows.chain_5m = f5.chain
LEFT JOIN feature_figures AS f15 ON feature_rows.chain_15m = f15.chain
ORDER BY event_time, symbol
