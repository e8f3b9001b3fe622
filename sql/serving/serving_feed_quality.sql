-- purpose: What the detectors said of each minute of the feeds, for other tools.
-- reads: feed_quality
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: none: several rows of a minute, symbol and detector add up
-- units: rows_seen and rows_flagged in rows, chains in chains, value as the detector says
SELECT *
FROM feed_quality
WHERE date = $date AND exchange = $exchange
