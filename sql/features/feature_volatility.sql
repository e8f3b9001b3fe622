-- purpose: Realised volatility of the underlying over the fifteen minutes before each row of features.
-- reads: feature_rows, feature_figures
-- parameters: none
-- grain: one row per chain
-- units: realised_volatility_15m an annualised fraction
-- note: The square root of the sum of squared log returns (Andersen, Bollerslev, Diebold and Labys, "The
--   distribution of realized exchange rate volatility", JASA 96, 2001), over the time that the returns span,
--   scaled to a year of 252 sessions of 375 minutes: 5,670,000 seconds. So it compares with an iv.
-- note: Sampled at the first chain with a price of each minute: a fast feed is not measured by its noise, a
--   slow one from chain to chain. Which chain is the first of its minute is known at once.
-- note: Returns that end in the last fifteen minutes count; one over more than 7.5 minutes is a gap and does
--   not. Null unless there are three, over 7.5 minutes together.
-- note: Squares are summed as whole multiples of 1e-24, so the sum does not depend on the order of the rows.
WITH prices AS (
    SELECT
        chain,
        symbol,
        source,
        epoch_us(event_time) AS event_us,
        underlying_price
    FROM feature_rows
    INNER JOIN feature_figures USING (chain)
),

samples AS (
    SELECT chain, symbol, source, event_us, underlying_price
    FROM prices
    WHERE underlying_price IS NOT NULL
    QUALIFY coalesce(
        lag(event_us // 60000000) OVER (PARTITION BY symbol, source ORDER BY event_us)
        < event_us // 60000000,
        TRUE
    )
),

returns AS (
    SELECT
        chain,
        event_us - lag(event_us) OVER series AS span_us,
        ln(underlying_price / lag(underlying_price) OVER series) AS log_return
    FROM samples
    WINDOW series AS (PARTITION BY symbol, source ORDER BY event_us)
),

squares AS (
    SELECT
        chain,
        span_us,
        CAST(round(log_return * log_return * 1e24) AS DECIMAL(38, 0)) AS square
    FROM returns
    WHERE span_us <= 450000000
),

sums AS (
    SELECT
        prices.chain,
        count(square) OVER quarter AS returns,
        sum(span_us) OVER quarter AS span_us,
        sum(square) OVER quarter AS squares
    FROM prices
    LEFT JOIN squares USING (chain)
    WINDOW quarter AS (
        PARTITION BY symbol, source
        ORDER BY event_us
        RANGE BETWEEN 899999999 PRECEDING AND CURRENT ROW
    )
)

SELECT
    chain,
    CASE
        WHEN returns >= 3 AND span_us >= 450000000
            THEN sqrt(CAST(squares AS DOUBLE) / 1e24 / (CAST(span_us AS DOUBLE) / 1e6) * 5670000)
    END AS realised_volatility_15m
FROM sums
