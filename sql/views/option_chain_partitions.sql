-- purpose: Which sessions there are rows of, and how many.
-- reads: option_chain
-- parameters: none
-- grain: one row per date, exchange
-- units: row_count is a count
-- note: strikelake's own sessions take this from the Delta log and read no file for it; the statement is
--   the definition, and what other engines run.
SELECT
    date,
    exchange,
    count(*) AS row_count
FROM option_chain
GROUP BY date, exchange
