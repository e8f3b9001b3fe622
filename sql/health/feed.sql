-- purpose: How old the newest chain of an exchange is, and how long its feed paused in the last minutes.
-- reads: option_chain
-- parameter $exchange: NSE or BSE
-- parameter $date: session date, exchange-local
-- parameter $open: UTC, when that session opened
-- parameter $now: UTC, the moment looked at, at most the session's close
-- parameter $since: UTC, pauses that ended before it do not count
-- parameter $spooled: UTC, event_time of the newest chain that waits in a spool; $open where none does
-- grain: one row
-- units: *_s seconds; chains and row_count are counts of the session so far
-- note: feed_age_s counts from the open until the first chain comes. Chains dated after $now are left out: a
--   clock that is ahead must not hide a feed that stands still.
-- note: feed_gap_s is the longest pause that is over; the one that lasts is feed_age_s.
WITH legs AS (
    SELECT event_time, received_time, batch_id
    FROM option_chain
    WHERE date = $date AND exchange = $exchange AND event_time <= $now
),

chains AS (
    SELECT
        event_time,
        max(received_time) AS received_time,
        max(batch_id) AS batch_id,
        count(*) AS row_count
    FROM legs
    GROUP BY event_time
),

gaps AS (
    SELECT
        *,
        (
            epoch_us(event_time)
            - epoch_us(greatest(coalesce(lag(event_time) OVER (ORDER BY event_time), $open), $open))
        ) / 1e6 AS gap_s
    FROM chains
)

SELECT
    (epoch_us($now) - epoch_us(greatest(coalesce(max(event_time), $open), $open, $spooled))) / 1e6
    AS feed_age_s,
    coalesce(max(gap_s) FILTER (WHERE event_time > $since AND event_time > $open), 0.0) AS feed_gap_s,
    max(event_time) AS newest_event_time,
    max(received_time) AS newest_received_time,
    arg_max(batch_id, event_time) AS newest_batch_id,
    count(*) AS chains,
    coalesce(CAST(sum(row_count) AS BIGINT), 0) AS row_count
FROM gaps
