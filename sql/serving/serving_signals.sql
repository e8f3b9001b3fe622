-- purpose: Signals without nested columns, for other tools.
-- reads: signals
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per event_time, exchange, symbol
-- units: confidence and probability_* from 0 to 1; top_feature_contribution in log-odds
-- note: top_features is JSON; its first one stands in columns of its own as well.
SELECT
    * EXCLUDE (probabilities, regime, top_features),
    probabilities['BUY'] AS probability_buy,
    probabilities['HOLD'] AS probability_hold,
    probabilities['SELL'] AS probability_sell,
    regime['vix'] AS regime_vix,
    regime['trend'] AS regime_trend,
    regime['expiry'] AS regime_expiry,
    top_features[1]['name'] AS top_feature,
    top_features[1]['value'] AS top_feature_value,
    top_features[1]['contribution'] AS top_feature_contribution,
    CAST(to_json(top_features) AS VARCHAR) AS top_features
FROM signals
WHERE date = $date AND exchange = $exchange
