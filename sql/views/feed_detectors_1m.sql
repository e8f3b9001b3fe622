-- purpose: What each detector said of each minute of a feed, silent minutes included, as it was judged live.
-- reads: feed_quality
-- parameters: none
-- grain: one row per date, exchange, symbol, source, minute, detector
-- units: rows_seen and rows_flagged rows; chains one expiry at one event_time each; value see the note
-- note: The table has a row for every conversion that touched the minute; they add up to this. detector seen
--   counts all rows; silent and disconnected have no rows, and in value the seconds since the feed spoke.
-- note: value: percent of legs missing (partial), legs that fell (stale), percent the spot moved (frozen) or
--   is off (off_spot), seconds (late, ahead); null for the others. The highest of the minute.
-- note: Cheap: some rows a minute and symbol, whatever the size of the chains.
SELECT
    date,
    exchange,
    symbol,
    source,
    event_time AS minute,
    detector,
    CAST(sum(rows_seen) AS BIGINT) AS rows_seen,
    CAST(sum(rows_flagged) AS BIGINT) AS rows_flagged,
    CAST(sum(chains) AS BIGINT) AS chains,
    max(value) AS value,
    max(detail) AS detail
FROM feed_quality
GROUP BY date, exchange, symbol, source, event_time, detector
ORDER BY date, exchange, symbol, source, minute, detector
