-- purpose: The last signals of an exchange, with what the model looked at.
-- reads: signals_recent
-- parameter $exchange: NSE or BSE
-- parameter $last: how many
-- grain: one row per event_time, symbol, received_time
-- units: confidence and probabilities 0 to 1; top_features: z in training std, magnitude a share,
--   contribution in log-odds, as expected and raw_score
-- note: All columns there are: a table of an earlier version lacks expected and raw_score.
SELECT *
FROM signals_recent
WHERE exchange = $exchange
ORDER BY event_time DESC, received_time DESC, symbol
LIMIT $last
