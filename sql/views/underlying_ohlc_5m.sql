-- purpose: Five-minute candles of the underlying, from the prices that came with the chains.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, source, bucket_start that has a price
-- units: prices in rupees; bucket_start begins five minutes, end excluded; chains is a count
-- note: Sampled once a chain, not at every tick: high and low are those of the chains, and the first candle
--   opens with the first chain. chains counts the event_times with a price, whatever their expiries.
-- note: Of an event_time received more than once, the price received last; where the legs of one chain
--   disagree, the highest. Chains without a price make no candle.
-- note: Buckets are floors of the UTC epoch: +05:30 is a whole number of five minutes (66), so they begin at
--   :00, :05, :10 of exchange-local clocks too, whatever the TimeZone of the session.
WITH receptions AS (
    SELECT
        date,
        exchange,
        symbol,
        source,
        event_time,
        received_time,
        max(underlying_price) AS price
    FROM option_chain
    WHERE underlying_price IS NOT NULL
    GROUP BY date, exchange, symbol, source, event_time, received_time
),

prices AS (
    SELECT
        date,
        exchange,
        symbol,
        source,
        event_time,
        to_timestamp(epoch_us(event_time) // 300000000 * 300) AS bucket_start,
        arg_max(price, received_time) AS price
    FROM receptions
    GROUP BY date, exchange, symbol, source, event_time
)

SELECT
    symbol,
    bucket_start,
    exchange,
    source,
    date,
    count(*) AS chains,
    arg_min(price, event_time) AS open,
    max(price) AS high,
    min(price) AS low,
    arg_max(price, event_time) AS close
FROM prices
GROUP BY date, exchange, symbol, source, bucket_start
ORDER BY exchange, symbol, source, bucket_start
