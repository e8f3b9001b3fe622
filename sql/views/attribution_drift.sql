-- purpose: How far what each feature adds to a class's score has moved since the training set.
-- reads: attribution
-- parameters: none
-- grain: one row per model_version, exchange, date, feature, class; the sessions meant are those from date to
--   the newest
-- units: *_mean, difference and standard_error in log-odds; *_share a fraction of all features (0 to 1);
--   sessions and training_sessions are counts of sessions
-- note: The last five sessions are WHERE sessions = 5, the last one WHERE sessions = 1. Only sessions after
--   the training set that were recorded ('strikelake explain drift') count.
-- note: Sessions are the sample, not rows: rows of one session resemble one another, so that thousands of
--   them say little more than one. A session counts by its mean, whatever its number of rows.
-- note: standard_error = s * sqrt(1 / training_sessions + 1 / sessions), where s is the spread of the
--   sessions' means about the mean of their side, pooled over both: Student's test of two samples. Compare
--   difference_in_standard_errors with Student's t of degrees_of_freedom; of hundreds of rows some are beyond
--   any usual bound by chance. Sessions that resemble the one before make it look larger than it is.
-- note: Null standard_error: fewer than three training sessions, whose spread would be a guess.
--   Null difference_in_standard_errors: that, or the means never varied.
-- note: importance of a feature = its mean absolute contribution, summed over classes. *_share and *_rank
--   compare it with the other features' and are the same for every class; equal importance shares a rank.
WITH importances AS (
    SELECT
        *,
        sum(mean_absolute) OVER (
            PARTITION BY model_version, exchange, sample, date, feature
        ) AS importance
    FROM attribution
),

training AS (
    SELECT
        model_version,
        exchange,
        feature,
        class,
        count(*) AS training_sessions,
        avg(mean) AS training_mean,
        coalesce(var_samp(mean), 0) * (count(*) - 1) AS training_squares,
        avg(importance) AS training_importance
    FROM importances
    WHERE sample = 'training'
    GROUP BY model_version, exchange, feature, class
),

recent AS (
    SELECT
        model_version,
        exchange,
        feature,
        class,
        date,
        count(*) OVER newest AS sessions,
        avg(mean) OVER newest AS recent_mean,
        coalesce(var_samp(mean) OVER newest, 0) * (count(*) OVER newest - 1) AS recent_squares,
        avg(importance) OVER newest AS recent_importance
    FROM importances
    WHERE sample = 'session'
    WINDOW newest AS (
        PARTITION BY model_version, exchange, feature, class
        ORDER BY date DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),

compared AS (
    SELECT
        *,
        recent_mean - training_mean AS difference,
        training_sessions + sessions - 2 AS degrees_of_freedom
    FROM recent
    INNER JOIN training USING (model_version, exchange, feature, class)
),

scored AS (
    SELECT
        *,
        CASE WHEN training_sessions >= 3 THEN sqrt(
            (training_squares + recent_squares) / degrees_of_freedom
            * (1.0 / training_sessions + 1.0 / sessions)
        ) END AS standard_error,
        training_importance / nullif(sum(training_importance) OVER features, 0) AS training_share,
        recent_importance / nullif(sum(recent_importance) OVER features, 0) AS recent_share,
        rank() OVER (
            PARTITION BY model_version, exchange, date, class ORDER BY training_importance DESC
        ) AS training_rank,
        rank() OVER (
            PARTITION BY model_version, exchange, date, class ORDER BY recent_importance DESC
        ) AS recent_rank
    FROM compared
    WINDOW features AS (PARTITION BY model_version, exchange, date, class)
)

SELECT
    model_version,
    exchange,
    date,
    sessions,
    training_sessions,
    feature,
    class,
    training_mean,
    recent_mean,
    difference,
    standard_error,
    difference / nullif(standard_error, 0) AS difference_in_standard_errors,
    degrees_of_freedom,
    training_share,
    recent_share,
    training_rank,
    recent_rank
FROM scored
ORDER BY model_version, exchange, date DESC, recent_rank, feature, class
