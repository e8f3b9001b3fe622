-- purpose: What one method said of every feature of an underlying, window by window.
-- reads: drift_scores_recent
-- parameter $exchange: NSE or BSE
-- parameter $dataset: training dataset that is the reference
-- parameter $symbol: underlying, or * for all together
-- parameter $method: see the glossary
-- grain: one row per feature, window_end
-- units: score and threshold as the method says; p_value a fraction; row_count rows
SELECT
    feature,
    window_start,
    window_end,
    date,
    score,
    threshold,
    p_value,
    drifted,
    verdict,
    row_count
FROM drift_scores_recent
WHERE exchange = $exchange AND dataset = $dataset AND symbol = $symbol AND method = $method
ORDER BY feature, window_end
