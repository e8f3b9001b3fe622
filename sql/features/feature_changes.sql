-- purpose: Open interest and volume of a chain beside those of an earlier one, over the strikes of both.
-- reads: feature_rows, feature_strikes
-- parameters: none
-- grain: one row per chain, minutes
-- units: minutes as in feature_rows (3, 5, 15); the others in units of the underlying
-- note: Strikes come and go at the edges of a chain. Only contracts that have a figure in both chains count,
--   in either, so that none is taken for a change that was merely not listed, or not sent.
WITH pairs AS (
    SELECT chain, 3 AS minutes, chain_3m AS earlier_chain
    FROM feature_rows
    WHERE chain_3m IS NOT NULL
    UNION ALL
    SELECT chain, 5 AS minutes, chain_5m AS earlier_chain
    FROM feature_rows
    WHERE chain_5m IS NOT NULL
    UNION ALL
    SELECT chain, 15 AS minutes, chain_15m AS earlier_chain
    FROM feature_rows
    WHERE chain_15m IS NOT NULL
)

SELECT
    pairs.chain,
    pairs.minutes,
    sum(later.call_oi) FILTER (WHERE earlier.call_oi IS NOT NULL) AS call_oi,
    sum(earlier.call_oi) FILTER (WHERE later.call_oi IS NOT NULL) AS call_oi_then,
    sum(later.put_oi) FILTER (WHERE earlier.put_oi IS NOT NULL) AS put_oi,
    sum(earlier.put_oi) FILTER (WHERE later.put_oi IS NOT NULL) AS put_oi_then,
    sum(later.call_volume - earlier.call_volume) AS call_volume,
    sum(later.put_volume - earlier.put_volume) AS put_volume
FROM pairs
INNER JOIN feature_strikes AS later ON pairs.chain = later.chain
INNER JOIN feature_strikes AS earlier
    ON pairs.earlier_chain = earlier.chain AND later.strike = earlier.strike
GROUP BY pairs.chain, pairs.minutes
