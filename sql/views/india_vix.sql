-- purpose: The India VIX over time, each value from the moment on at which it was known.
-- reads: candles
-- parameters: none
-- grain: one row per exchange, event_time
-- units: value in points; interval_s in seconds
-- note: value is the close of a candle, known at its end, event_time: joined as of a moment, it is the newest
--   value that was known then, and never one that was still to come.
-- note: Of candles that end at the same moment the shortest counts, and of equal ones the one received last.
-- note: Unordered. A condition on date or exchange reaches the table.
SELECT
    date,
    exchange,
    event_time,
    close AS value,
    interval_s,
    received_time,
    source
FROM candles
WHERE symbol = 'INDIAVIX' AND instrument = 'index' AND close IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY date, exchange, event_time
    ORDER BY interval_s, received_time DESC, batch_id DESC, source
) = 1
