-- purpose: The chains that become rows of features, each with the chains it is compared with.
-- reads: feature_chains
-- parameters: none
-- grain: one row per symbol, source, event_time
-- units: chain and all *_chain are numbers of rows of feature_chains, null where there is none
-- note: Of 3, 5 and 15 minutes ago counts the newest chain of the same expiry and source that is at least
--   that old, and at most half as long again: 3 to 4.5, 5 to 7.5, 15 to 22.5 minutes, as in the view
--   oi_change. Never across the start of a session, since feature_chains holds one session.
-- note: next_chain is the newest of the next expiry that was known, at most five minutes old: many feeds
--   send each expiry as an update of its own.
-- note: Before the nearest expiry has been seen, a further one stands for it. Should both come with one
--   event_time, one after the other, that which was known first makes the row.
WITH neighbours AS (
    SELECT
        *,
        max(chain) OVER (
            series RANGE BETWEEN 270000000 PRECEDING AND 180000000 PRECEDING
        ) AS chain_3m,
        max(chain) OVER (
            series RANGE BETWEEN 450000000 PRECEDING AND 300000000 PRECEDING
        ) AS chain_5m,
        max(chain) OVER (
            series RANGE BETWEEN 1350000000 PRECEDING AND 900000000 PRECEDING
        ) AS chain_15m,
        min(chain) OVER (PARTITION BY symbol, source, event_time, is_near) AS first_chain
    FROM feature_chains
    WINDOW series AS (PARTITION BY symbol, source, expiry ORDER BY epoch_us(event_time))
),

near AS (
    SELECT *
    FROM neighbours
    WHERE is_near AND chain = first_chain
),

-- As of: each row asks for the newest chain of its next expiry, in the order in which they were known.
asked AS (
    SELECT symbol, source, expiry, event_time, known_time, chain, CAST(NULL AS BIGINT) AS asking_chain
    FROM feature_chains
    UNION ALL
    SELECT symbol, source, next_expiry AS expiry, event_time, known_time, CAST(NULL AS BIGINT), chain
    FROM near
    WHERE next_expiry IS NOT NULL
),

answers AS (
    SELECT
        asking_chain,
        max(chain) OVER (
            PARTITION BY symbol, source, expiry
            ORDER BY event_time, known_time
        ) AS next_chain
    FROM asked
)

SELECT
    near.chain,
    near.symbol,
    near.source,
    near.event_time,
    near.known_time,
    near.is_live,
    near.chain_3m,
    near.chain_5m,
    near.chain_15m,
    further.chain AS next_chain
FROM near
LEFT JOIN answers ON near.chain = answers.asking_chain
LEFT JOIN feature_chains AS further
    ON
        answers.next_chain = further.chain
        AND epoch_us(near.event_time) - epoch_us(further.event_time) <= 300000000
