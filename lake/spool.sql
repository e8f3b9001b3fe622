-- Durable queue of record batches and the ledger of what became of each row.
-- Everything that moves moves in one transaction, so the ledger balances at every instant.

CREATE TABLE IF NOT EXISTS meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One entry: rows of one table and one group, as an Arrow IPC stream.
-- AUTOINCREMENT: a sequence is never given out twice, even after its entry is gone.
CREATE TABLE IF NOT EXISTS entries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name   TEXT NOT NULL,
    group_key    TEXT NOT NULL,
    origin_table TEXT NOT NULL,
    rows         INTEGER NOT NULL,
    spooled_us   INTEGER NOT NULL,
    payload      BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_table ON entries (table_name, seq);

CREATE TABLE IF NOT EXISTS ledger (
    table_name  TEXT NOT NULL,
    group_key   TEXT NOT NULL,
    offered     INTEGER NOT NULL DEFAULT 0,
    committed   INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (table_name, group_key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS drops (
    table_name TEXT NOT NULL,
    group_key  TEXT NOT NULL,
    reason     TEXT NOT NULL,
    rows       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (table_name, group_key, reason)
) WITHOUT ROWID;

-- Input that was taken in once and is never taken in again.
CREATE TABLE IF NOT EXISTS identities (
    identity BLOB PRIMARY KEY
) WITHOUT ROWID;

-- The queue in the memory of the app that fills this file, as the app saw it last; no line if none was ever told.
CREATE TABLE IF NOT EXISTS queue (
    only_line INTEGER PRIMARY KEY CHECK (only_line = 1),
    waiting   INTEGER NOT NULL,
    highest   INTEGER NOT NULL,
    capacity  INTEGER NOT NULL,
    told_us   INTEGER NOT NULL
);

-- Invariant: difference = 0 in every row, at every instant.
CREATE VIEW IF NOT EXISTS ledger_balance AS
SELECT
    l.table_name,
    l.group_key,
    l.offered,
    COALESCE(e.rows, 0) AS spooled,
    l.committed,
    l.quarantined,
    COALESCE(d.rows, 0) AS dropped,
    l.offered - l.committed - l.quarantined - COALESCE(e.rows, 0) - COALESCE(d.rows, 0) AS difference
FROM ledger AS l
LEFT JOIN (
    SELECT origin_table, group_key, SUM(rows) AS rows FROM entries GROUP BY origin_table, group_key
) AS e ON e.origin_table = l.table_name AND e.group_key = l.group_key
LEFT JOIN (
    SELECT table_name, group_key, SUM(rows) AS rows FROM drops GROUP BY table_name, group_key
) AS d ON d.table_name = l.table_name AND d.group_key = l.group_key;
