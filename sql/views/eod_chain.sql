-- purpose: The chain of every expiry at the close of a session, calls and puts side by side.
-- reads: candles
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, strike, source
-- units: prices and strikes in rupees; oi, oi_change and volume in units of the underlying; moneyness =
--   strike / underlying_price, a ratio, 1 at the money
-- note: From the exchanges' bhavcopies. close is what the exchange says it is: of a contract without a trade
--   (volume 0) the close before, or a price it worked out.
-- note: underlying_price is the source's; the older bhavcopies of NSE have none.
-- note: A contract received more than once: the last received counts. Sources are never mixed.
-- note: Known at the close, event_time; the exchanges publish it some hours after.
WITH contracts AS (
    SELECT *
    FROM candles
    WHERE instrument = 'option' AND interval_s = 86400
    QUALIFY row_number() OVER (
        PARTITION BY date, exchange, symbol, expiry, strike, option_type, source
        ORDER BY received_time DESC, batch_id DESC
    ) = 1
),

strikes AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        strike,
        source,
        max(event_time) AS event_time,
        max(lot_size) AS lot_size,
        max(max(underlying_price)) OVER (PARTITION BY date, exchange, symbol, source) AS underlying_price,
        max(close) FILTER (WHERE option_type = 'CE') AS call_close,
        max(close) FILTER (WHERE option_type = 'PE') AS put_close,
        max(settle) FILTER (WHERE option_type = 'CE') AS call_settle,
        max(settle) FILTER (WHERE option_type = 'PE') AS put_settle,
        max(volume) FILTER (WHERE option_type = 'CE') AS call_volume,
        max(volume) FILTER (WHERE option_type = 'PE') AS put_volume,
        max(oi) FILTER (WHERE option_type = 'CE') AS call_oi,
        max(oi) FILTER (WHERE option_type = 'PE') AS put_oi,
        max(oi_change) FILTER (WHERE option_type = 'CE') AS call_oi_change,
        max(oi_change) FILTER (WHERE option_type = 'PE') AS put_oi_change
    FROM contracts
    GROUP BY date, exchange, symbol, expiry, strike, source
)

SELECT
    symbol,
    expiry,
    strike,
    date,
    event_time,
    exchange,
    source,
    lot_size,
    underlying_price,
    strike / underlying_price AS moneyness,
    call_settle,
    put_settle,
    call_volume,
    put_volume,
    call_oi_change,
    put_oi_change,
    call_oi,
    put_oi,
    call_close,
    put_close
FROM strikes
ORDER BY date, exchange, symbol, expiry, strike, source
