-- purpose: How many signals a session brought so far, how sure they are, and how they are mixed.
-- reads: signals
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $now: UTC, the moment looked at, at most the session's close
-- grain: one row
-- units: avg_confidence a fraction (0 to 1); *_pct percent of the signals; total_signals is a count
-- note: dominant_signal_pct is the share of the commonest of BUY, SELL and HOLD. Averages and shares are null
--   as long as there is no signal.
WITH counted AS (
    SELECT
        count(*) AS total_signals,
        count(*) FILTER (WHERE signal = 'BUY') AS buys,
        count(*) FILTER (WHERE signal = 'SELL') AS sells,
        count(*) FILTER (WHERE signal = 'HOLD') AS holds,
        avg(confidence) AS avg_confidence,
        max(event_time) AS newest_event_time,
        arg_max(batch_id, event_time) AS newest_batch_id
    FROM signals
    WHERE date = $date AND exchange = $exchange AND event_time <= $now
)

SELECT
    total_signals,
    avg_confidence,
    100.0 * buys / nullif(total_signals, 0) AS buy_pct,
    100.0 * sells / nullif(total_signals, 0) AS sell_pct,
    100.0 * holds / nullif(total_signals, 0) AS hold_pct,
    100.0 * greatest(buys, sells, holds) / nullif(total_signals, 0) AS dominant_signal_pct,
    newest_event_time,
    newest_batch_id
FROM counted
