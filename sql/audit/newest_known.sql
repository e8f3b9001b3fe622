-- purpose: The newest row of a history that was known at the moment of each question.
-- reads: questions, history
-- parameter $hide_unreceived: boolean, whether a row counts only once it was received
-- parameter $allow_exact_matches: boolean, whether an event at the very moment counts
-- grain: one row per question for which anything was known
-- units: row numbers of the two tables; times are microseconds since 1970 UTC
-- note: Written apart from the join that it audits, and by another way: rows that were overtaken before they
--   became visible are left out, then DuckDB's ASOF JOIN finds the last one left.
WITH ranked AS (
    SELECT
        row,
        key,
        greatest(
            event_time + CASE WHEN $allow_exact_matches THEN 0 ELSE 1 END,
            CASE WHEN $hide_unreceived THEN received_time END
        ) AS visible_from,
        row_number() OVER (
            PARTITION BY key
            ORDER BY event_time, received_time NULLS FIRST, tie_break NULLS FIRST, row
        ) AS newness
    FROM history
),

foremost AS (
    SELECT *
    FROM ranked
    QUALIFY newness = max(newness) OVER (
        PARTITION BY key ORDER BY visible_from RANGE UNBOUNDED PRECEDING
    )
)

SELECT
    questions.row AS question,
    foremost.row AS answer
FROM questions
ASOF JOIN foremost
    ON questions.key = foremost.key AND questions.as_of >= foremost.visible_from
ORDER BY question
