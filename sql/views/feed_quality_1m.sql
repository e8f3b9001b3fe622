-- purpose: How good each minute of each feed was, by detector, from the rows themselves.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange, symbol, source, minute
-- units: row_count and the detectors count rows; chains counts distinct (event_time, expiry); flagged_rows
--   rows with any flag; max_lateness_s seconds
-- note: The bits are those of catalog.dq_flags; a row can have several. Silent minutes have no rows: they are
--   in the table feed_quality, with the figures (value) of the detectors.
-- note: max_lateness_s is received_time - event_time; of rows loaded from recordings it says nothing.
-- note: Reads dq_flags and the keys of every row in the range: about as much as a count by minute. Give a
--   condition on date, exchange and symbol.
SELECT
    date,
    exchange,
    symbol,
    source,
    to_timestamp(epoch_us(event_time) // 60000000 * 60) AS minute,
    count(*) AS row_count,
    count(DISTINCT (event_time, expiry)) AS chains,
    count(*) FILTER (WHERE dq_flags <> 0) AS flagged_rows,
    count(*) FILTER (WHERE dq_flags & 1 <> 0) AS iv_bounds,
    count(*) FILTER (WHERE dq_flags & 2 <> 0) AS crossed,
    count(*) FILTER (WHERE dq_flags & 4 <> 0) AS one_sided,
    count(*) FILTER (WHERE dq_flags & 8 <> 0) AS parity,
    count(*) FILTER (WHERE dq_flags & 16 <> 0) AS off_spot,
    count(*) FILTER (WHERE dq_flags & 32 <> 0) AS late,
    count(*) FILTER (WHERE dq_flags & 64 <> 0) AS ahead,
    count(*) FILTER (WHERE dq_flags & 128 <> 0) AS zeroed,
    count(*) FILTER (WHERE dq_flags & 256 <> 0) AS partial,
    count(*) FILTER (WHERE dq_flags & 512 <> 0) AS repeated,
    count(*) FILTER (WHERE dq_flags & 1024 <> 0) AS frozen,
    count(*) FILTER (WHERE dq_flags & 2048 <> 0) AS stale,
    count(*) FILTER (WHERE dq_flags & 4096 <> 0) AS volume_falls,
    count(*) FILTER (WHERE dq_flags & 8192 <> 0) AS wrong_clock,
    count(*) FILTER (WHERE dq_flags & 16384 <> 0) AS pre_open_totals,
    count(*) FILTER (WHERE dq_flags & 32768 <> 0) AS out_of_order,
    count(*) FILTER (WHERE dq_flags & 1073741824 <> 0) AS unchecked,
    max(epoch_us(received_time) - epoch_us(event_time)) / 1e6 AS max_lateness_s
FROM option_chain
GROUP BY date, exchange, symbol, source, epoch_us(event_time) // 60000000
ORDER BY date, exchange, symbol, source, minute
