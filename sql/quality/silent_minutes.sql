-- purpose: Minutes in which a feed said nothing while the market was open.
-- reads: feed_quality
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- parameter $symbol: underlying, '*' for all
-- grain: one row per symbol, source, detector, event_time
-- units: silent_s seconds since the feed spoke last, at the end of the minute
-- note: detector is silent (connection up, as far as it was told) or disconnected. A minute that was spooled
--   twice, by two taps of one feed, counts once.
SELECT symbol, source, detector, event_time, max(value) AS silent_s
FROM feed_quality
WHERE
    date = $date AND exchange = $exchange AND ($symbol = '*' OR symbol IN ($symbol, '*'))
    AND detector IN ('silent', 'disconnected')
GROUP BY symbol, source, detector, event_time
ORDER BY symbol, source, detector, event_time
