-- purpose: Which drift scores the last sessions of an exchange have, to choose from.
-- reads: drift_scores_recent
-- parameter $exchange: NSE or BSE
-- grain: one row per dataset, symbol, method
-- units: feature_count, window_count and flagged_count are counts; last_window_end UTC
-- note: flagged_count is of the scores of the newest window.
WITH scores AS (
    SELECT
        dataset,
        symbol,
        method,
        feature,
        window_end,
        drifted,
        max(window_end) OVER (PARTITION BY dataset, symbol, method) AS last_window_end
    FROM drift_scores_recent
    WHERE exchange = $exchange
)

SELECT
    dataset,
    symbol,
    method,
    last_window_end,
    count(DISTINCT feature) AS feature_count,
    count(DISTINCT window_end) AS window_count,
    count(*) FILTER (WHERE drifted AND window_end = last_window_end) AS flagged_count
FROM scores
GROUP BY dataset, symbol, method, last_window_end
ORDER BY last_window_end DESC, symbol, method
