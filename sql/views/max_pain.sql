-- purpose: The strike at which the holders of all open options would be paid least, at every chain.
-- reads: chain_legs
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, event_time
-- units: max_pain and underlying_price in rupees a unit; payout in rupees, over all open interest
-- note: Settled at price s, the holders receive the intrinsic value of every open contract:
--   payout(s) = sum of call oi x max(0, s - strike) + sum of put oi x max(0, strike - s).
--   max_pain is the strike of the chain where that is least, the lowest of equals. The usual definition, e.g.
--   Zerodha Varsity, module 6, chapter 13: https://zerodha.com/varsity/chapter/max-pain-pcr-ratio/
-- note: Null when one side has no oi at all or all oi is zero. Legs without oi count as none.
-- note: payout(s) is split at s and summed once in strike order, not over all pairs of strikes.
--   Sums are exact below 2^53 as long as strikes are multiples of half a rupee.
WITH strikes AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        strike,
        CAST(max(oi) FILTER (WHERE option_type = 'CE') AS DOUBLE) AS call_oi,
        CAST(max(oi) FILTER (WHERE option_type = 'PE') AS DOUBLE) AS put_oi,
        max(underlying_price) AS underlying_price
    FROM chain_legs
    GROUP BY date, exchange, symbol, expiry, source, event_time, strike
),

payouts AS (
    SELECT
        *,
        coalesce(strike * sum(call_oi) OVER up_to - sum(call_oi * strike) OVER up_to, 0)
        + coalesce(sum(put_oi * strike) OVER from_here - strike * sum(put_oi) OVER from_here, 0) AS payout
    FROM strikes
    WINDOW
        up_to AS (
            PARTITION BY date, exchange, symbol, expiry, source, event_time
            ORDER BY strike
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ),
        from_here AS (
            PARTITION BY date, exchange, symbol, expiry, source, event_time
            ORDER BY strike
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
),

ranked AS (
    SELECT
        *,
        min(payout) OVER (PARTITION BY date, exchange, symbol, expiry, source, event_time) AS least
    FROM payouts
)

SELECT
    symbol,
    expiry,
    event_time,
    exchange,
    source,
    date,
    CASE WHEN sum(call_oi) + sum(put_oi) > 0 THEN min(payout) END AS payout,
    max(underlying_price) AS underlying_price,
    CASE WHEN sum(call_oi) + sum(put_oi) > 0 THEN min(strike) FILTER (WHERE payout = least) END AS max_pain
FROM ranked
GROUP BY date, exchange, symbol, expiry, source, event_time
ORDER BY exchange, symbol, expiry, source, event_time
