-- purpose: What paper trading made so far, and how often it broke a limit of the portfolio.
-- reads: paper_trading_metrics
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $now: UTC, the moment looked at, at most the session's close
-- grain: one row
-- units: total_pnl in rupees; portfolio_constraint_violations is a count
-- note: The newest row of the session; null if it has none yet.
SELECT
    arg_max(total_pnl, event_time) AS total_pnl,
    arg_max(portfolio_constraint_violations, event_time) AS portfolio_constraint_violations,
    max(event_time) AS newest_event_time,
    arg_max(batch_id, event_time) AS newest_batch_id
FROM paper_trading_metrics
WHERE date = $date AND exchange = $exchange AND event_time <= $now
