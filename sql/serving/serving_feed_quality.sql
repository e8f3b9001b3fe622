-- purpose: What the detectors said of each minute of each feed, for other tools.
-- reads: feed_quality
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: none: several rows of a minute, symbol, source and detector add up
-- units: rows_* in rows; chains in chains; value as the detector says
SELECT *
FROM feed_quality
WHERE date = $date AND exchange = $exchange
