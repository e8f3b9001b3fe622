-- purpose: Pauses of each feed within a date, as intervals.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, source, gap_start
-- units: seconds and cadence_s seconds; missed_chains chains that the usual cadence would have brought
-- note: A gap is longer than a minute and than 1.5 times the feed's usual interval of that date (cadence_s,
--   the median): what a poll that failed leaves behind. gap_start is the chain before it, gap_end the one
--   after.
-- note: Only pauses between two chains: what lacks before the first and after the last one takes the
--   session's hours, see 'strikelake ingest quality'. Pauses before the open and after the close are here.
-- note: Reads the times of every row in the range; conditions on date, exchange and symbol reach the table.
WITH chains AS (
    SELECT date, exchange, symbol, source, event_time
    FROM option_chain
    GROUP BY date, exchange, symbol, source, event_time
),

steps AS (
    SELECT
        date,
        exchange,
        symbol,
        source,
        lag(event_time) OVER feed AS gap_start,
        event_time AS gap_end,
        (epoch_us(event_time) - epoch_us(lag(event_time) OVER feed)) / 1e6 AS seconds
    FROM chains
    WINDOW feed AS (PARTITION BY date, exchange, symbol, source ORDER BY event_time)
),

usual AS (
    SELECT date, exchange, symbol, source, median(seconds) AS cadence_s
    FROM steps
    GROUP BY date, exchange, symbol, source
)

SELECT
    date,
    exchange,
    symbol,
    source,
    gap_start,
    gap_end,
    seconds,
    cadence_s,
    CAST(floor(seconds / cadence_s + 0.5) AS BIGINT) - 1 AS missed_chains
FROM steps
INNER JOIN usual USING (date, exchange, symbol, source)
WHERE seconds > 60 AND seconds > 1.5 * cadence_s
ORDER BY date, exchange, symbol, source, gap_start
