-- purpose: Put-call ratio by open interest and by volume, every five minutes.
-- reads: chain_legs
-- parameters: none
-- grain: one row per date, exchange, symbol, expiry, source, bucket_start that has a chain
-- units: bucket_start begins five minutes, end excluded; put_*, call_* in units of the underlying
-- note: Taken from the last chain of the bucket, at event_time. pcr_oi = put OI / call OI, pcr_volume = put
--   volume / call volume; null where the call side is zero or either side is missing. Volume is the day's so
--   far, not the bucket's. Legs without a value do not count.
-- note: Buckets are floors of the UTC epoch: +05:30 is a whole number of five minutes (66), so they begin at
--   :00, :05, :10 of exchange-local clocks too, whatever the TimeZone of the session.
-- note: No row across expiries, since each expiry has its own event_time. It is one query away:
--   SELECT bucket_start, sum(put_oi) / nullif(sum(call_oi), 0) FROM pcr_5m WHERE ... GROUP BY bucket_start
WITH chains AS (
    SELECT
        date,
        exchange,
        symbol,
        expiry,
        source,
        event_time,
        to_timestamp(epoch_us(event_time) // 300000000 * 300) AS bucket_start,
        CAST(sum(oi) FILTER (WHERE option_type = 'PE') AS BIGINT) AS put_oi,
        CAST(sum(oi) FILTER (WHERE option_type = 'CE') AS BIGINT) AS call_oi,
        CAST(sum(volume) FILTER (WHERE option_type = 'PE') AS BIGINT) AS put_volume,
        CAST(sum(volume) FILTER (WHERE option_type = 'CE') AS BIGINT) AS call_volume
    FROM chain_legs
    GROUP BY date, exchange, symbol, expiry, source, event_time
),

last_chains AS (
    SELECT *
    FROM chains
    QUALIFY row_number() OVER (
        PARTITION BY date, exchange, symbol, expiry, source, bucket_start
        ORDER BY event_time DESC
    ) = 1
)

SELECT
    symbol,
    expiry,
    bucket_start,
    event_time,
    exchange,
    source,
    date,
    put_oi,
    call_oi,
    put_volume,
    call_volume,
    CAST(put_volume AS DOUBLE) / nullif(call_volume, 0) AS pcr_volume,
    CAST(put_oi AS DOUBLE) / nullif(call_oi, 0) AS pcr_oi
FROM last_chains
ORDER BY exchange, symbol, expiry, source, bucket_start
