-- purpose: The chains of one session that features may be made of, as they were known, with their ranks.
-- reads: option_chain, feature_symbols
-- parameter $exchange: NSE or BSE
-- parameter $date: session date
-- parameter $open: UTC, when the session opens; chains before it are left out
-- parameter $close: UTC, when it closes; chains after it are left out
-- parameter $known_by: UTC, only what was known then
-- grain: one row per symbol, source, event_time, expiry
-- units: known_time is when the chain was known; is_live whether it was handed over as it happened; is_near
--   tells the nearest expiry from the next one, next_expiry
-- note: What was handed over as it happened ('live', 'simulator') was known when it was received. A chain is
--   one update: of one received twice the first counts, and one is left out if a later chain of its symbol
--   had been received before it. So what was computed once stays as it is, whatever arrives later. Recordings
--   were received when they were loaded, which says nothing: their chains were known at once, and of one
--   loaded twice the last counts.
-- note: Sources are never mixed. Where a symbol has several, 'live' comes before all others, and those in
--   the order of their names; once a source has spoken in a session, those behind it are not heard any more.
-- note: The nearest expiry is the first, not yet past, of those seen in the session so far, the next one the
--   first beyond it; further ones are left out. So no chain is judged by a later one.
-- note: chain numbers the rows, rising with known time within a symbol and source.
WITH received AS (
    SELECT
        symbol,
        source,
        expiry,
        event_time,
        source IN ('live', 'simulator') AS is_live,
        CASE
            WHEN source IN ('live', 'simulator') THEN min(received_time)
            ELSE max(received_time)
        END AS received_time
    FROM option_chain
    WHERE
        date = $date
        AND exchange = $exchange
        AND event_time >= $open
        AND event_time <= $close
        AND event_time <= $known_by
        AND expiry >= $date
        AND symbol IN (SELECT symbol FROM feature_symbols)
    GROUP BY symbol, source, expiry, event_time
),

known AS (
    SELECT
        *,
        CASE WHEN is_live THEN greatest(received_time, event_time) ELSE event_time END AS known_time
    FROM received
),

punctual AS (
    SELECT *
    FROM known
    WHERE known_time <= $known_by
    QUALIFY coalesce(
        min(known_time) OVER (
            PARTITION BY symbol, source
            ORDER BY epoch_us(event_time)
            RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) >= known_time,
        TRUE
    )
),

of_one_source AS (
    SELECT *
    FROM punctual
    QUALIFY min(CASE source WHEN 'live' THEN '' ELSE source END) OVER (
        PARTITION BY symbol
        ORDER BY event_time
    ) = CASE source WHEN 'live' THEN '' ELSE source END
),

ordered AS (
    SELECT
        *,
        rank() OVER (ORDER BY symbol, source, event_time, known_time) AS moment,
        min(expiry) OVER (PARTITION BY symbol, source ORDER BY event_time, known_time) AS near_expiry
    FROM of_one_source
),

-- A row for each expiry, so that joining it costs little.
seen AS (
    SELECT symbol, source, expiry, min(moment) AS moment
    FROM ordered
    GROUP BY symbol, source, expiry
),

ranked AS (
    SELECT
        ordered.symbol,
        ordered.source,
        ordered.event_time,
        ordered.expiry,
        ordered.received_time,
        ordered.known_time,
        ordered.is_live,
        ordered.near_expiry,
        min(seen.expiry) AS next_expiry
    FROM ordered
    LEFT JOIN seen
        ON
            ordered.symbol = seen.symbol
            AND ordered.source = seen.source
            AND ordered.moment >= seen.moment
            AND ordered.near_expiry < seen.expiry
    GROUP BY
        ordered.symbol,
        ordered.source,
        ordered.event_time,
        ordered.expiry,
        ordered.received_time,
        ordered.known_time,
        ordered.is_live,
        ordered.near_expiry
)

SELECT
    row_number() OVER (ORDER BY symbol, source, event_time, known_time, expiry) AS chain,
    symbol,
    source,
    event_time,
    expiry,
    received_time,
    known_time,
    is_live,
    expiry = near_expiry AS is_near,
    next_expiry
FROM ranked
WHERE expiry = near_expiry OR expiry = next_expiry
