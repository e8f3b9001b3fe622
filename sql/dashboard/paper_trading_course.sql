-- purpose: How paper trading stood through the last sessions of an exchange.
-- reads: paper_trading_metrics_recent
-- parameter $exchange: NSE or BSE
-- grain: one row per event_time, source
-- units: total_pnl, realized_pnl and unrealized_pnl rupees; the others counts
SELECT
    date,
    event_time,
    received_time,
    total_pnl,
    realized_pnl,
    unrealized_pnl,
    open_positions,
    trades,
    winning_trades,
    losing_trades,
    portfolio_constraint_violations,
    source
FROM paper_trading_metrics_recent
WHERE exchange = $exchange
ORDER BY event_time, source
