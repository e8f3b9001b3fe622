-- purpose: Where the wrong values of a frame seem to come from, and so what is wrong with them.
-- reads: offences, history
-- parameter $hide_unreceived: boolean, whether a row counts only once it was received
-- parameter $allow_exact_matches: boolean, whether an event at the very moment counts
-- parameter $tolerance_us: microseconds, greatest age that counts; null for any age
-- grain: one row per offence
-- units: times are microseconds since 1970 UTC
-- note: `key` holds the value too, so a candidate is a row of the same key with the same value. Of the last
--   one before the moment and the first one after it the nearer is taken; at equal distance the later one.
WITH seen AS (
    SELECT
        key,
        event_time,
        min(received_time) AS received_time
    FROM history
    WHERE key IN (SELECT key FROM offences)
    GROUP BY key, event_time
),

candidates AS (
    SELECT
        offences.row,
        offences.as_of,
        offences.missing,
        NOT offences.missing AND coalesce(
            later.event_time - offences.as_of <= offences.as_of - earlier.event_time,
            later.event_time IS NOT NULL
        ) AS takes_later,
        earlier.event_time AS earlier_event_time,
        earlier.received_time AS earlier_received_time,
        later.event_time AS later_event_time,
        later.received_time AS later_received_time
    FROM offences
    ASOF LEFT JOIN seen AS earlier
        ON offences.key = earlier.key AND offences.as_of >= earlier.event_time
    ASOF LEFT JOIN seen AS later
        ON offences.key = later.key AND offences.as_of < later.event_time
),

sources AS (
    SELECT
        row,
        as_of,
        missing,
        CASE WHEN takes_later THEN later_event_time WHEN NOT missing THEN earlier_event_time END
            AS event_time,
        CASE WHEN takes_later THEN later_received_time WHEN NOT missing THEN earlier_received_time END
            AS received_time
    FROM candidates
)

SELECT
    row,
    as_of,
    event_time,
    received_time,
    CASE
        WHEN missing THEN 'value_missing'
        WHEN event_time IS NULL THEN 'value_not_found'
        WHEN event_time > as_of OR (event_time = as_of AND NOT $allow_exact_matches)
            THEN 'event_after_as_of'
        WHEN $hide_unreceived AND coalesce(received_time > as_of, true) THEN 'received_after_as_of'
        WHEN as_of - event_time > $tolerance_us THEN 'older_than_tolerance'
        ELSE 'superseded'
    END AS reason
FROM sources
ORDER BY row
