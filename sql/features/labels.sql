-- purpose: What the underlying did after each row of features, as a return and as a class.
-- reads: feature_rows, feature_figures, feature_volatility
-- parameter $horizon_us: microseconds, how far the label looks ahead
-- parameter $threshold: expected moves that a return must exceed to be BUY or SELL
-- grain: one row per chain that has a label
-- units: forward_return a log return
-- note: The return runs to the newest chain of the same session, symbol and source at or before event_time +
--   horizon; it must be at least two thirds of the horizon away. There must be a chain at or after that
--   moment too: else the session may have ended, or the answer may still change. So no label reaches across
--   the end of a session.
-- note: The expected move is realised_volatility_15m, known at event_time, times the square root of the time
--   that the return spans, in years of 5,670,000 seconds of trading (see feature_volatility): of independent
--   returns the variance grows with time.
-- note: No label without a price at both ends, or where the expected move is not known or zero.
WITH prices AS (
    SELECT
        chain,
        symbol,
        source,
        epoch_us(event_time) AS event_us,
        underlying_price,
        realised_volatility_15m
    FROM feature_rows
    INNER JOIN feature_figures USING (chain)
    INNER JOIN feature_volatility USING (chain)
),

ahead AS (
    SELECT
        *,
        max(chain) OVER (
            PARTITION BY symbol, source
            ORDER BY event_us
            RANGE BETWEEN CURRENT ROW AND CAST($horizon_us AS BIGINT) FOLLOWING
        ) AS later_chain,
        max(event_us) OVER (PARTITION BY symbol, source) AS last_us
    FROM prices
),

returns AS (
    SELECT
        ahead.chain,
        ln(later.underlying_price / ahead.underlying_price) AS forward_return,
        ahead.realised_volatility_15m * sqrt((later.event_us - ahead.event_us) / 1e6 / 5670000)
            AS expected_move
    FROM ahead
    INNER JOIN prices AS later ON ahead.later_chain = later.chain
    WHERE
        ahead.last_us >= ahead.event_us + $horizon_us
        AND later.event_us > ahead.event_us
        AND 3 * (later.event_us - ahead.event_us) >= 2 * CAST($horizon_us AS BIGINT)
)

SELECT
    chain,
    forward_return,
    CASE
        WHEN forward_return > $threshold * expected_move THEN 'BUY'
        WHEN forward_return < -$threshold * expected_move THEN 'SELL'
        ELSE 'HOLD'
    END AS label
FROM returns
WHERE forward_return IS NOT NULL AND expected_move > 0
