-- purpose: How paper trading stood, for other tools.
-- reads: paper_trading_metrics
-- parameter $date: session date, exchange-local
-- parameter $exchange: NSE or BSE
-- grain: one row per event_time, exchange
-- units: profit and loss in rupees; the others are counts
SELECT *
FROM paper_trading_metrics
WHERE date = $date AND exchange = $exchange
