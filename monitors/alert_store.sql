-- State of alerts, groups and the outbox. Times are UTC, microseconds since 1970.

-- Alerts that are pending or firing, and those that were resolved of late.
CREATE TABLE alerts (
    fingerprint  TEXT PRIMARY KEY,
    rule         TEXT NOT NULL,
    exchange     TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    severity     TEXT NOT NULL,
    peak         TEXT NOT NULL,
    finding      TEXT NOT NULL, -- JSON: labels, value, summary, evidence, runbook, tags
    active_since INTEGER NOT NULL,
    starts_at    INTEGER,
    ends_at      INTEGER,
    updated_at   INTEGER NOT NULL,
    held         INTEGER NOT NULL,
    acknowledged TEXT -- JSON: author, comment, at, severity
) WITHOUT ROWID;

-- Every change of an alert, for people.
CREATE TABLE transitions (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    fingerprint  TEXT NOT NULL,
    rule         TEXT NOT NULL,
    exchange     TEXT NOT NULL,
    state_before TEXT,
    state_after  TEXT,
    severity     TEXT NOT NULL,
    value        REAL,
    summary      TEXT NOT NULL,
    why          TEXT NOT NULL
);
CREATE INDEX transitions_by_time ON transitions (at);

-- When each rule was evaluated last, and how that ended.
CREATE TABLE rule_runs (
    rule     TEXT NOT NULL,
    exchange TEXT NOT NULL,
    at       INTEGER NOT NULL,
    outcome  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (rule, exchange)
) WITHOUT ROWID;

CREATE TABLE silences (
    id         TEXT PRIMARY KEY,
    matchers   TEXT NOT NULL, -- JSON: list of texts
    starts_at  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    author     TEXT NOT NULL,
    comment    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- What is told together, see monitors/grouping.py.
CREATE TABLE groups (
    receiver   TEXT NOT NULL,
    group_key  TEXT NOT NULL,
    next_look  INTEGER NOT NULL,
    looked     INTEGER NOT NULL,
    emptied_at INTEGER,
    members    TEXT NOT NULL, -- JSON: list of fingerprints
    PRIMARY KEY (receiver, group_key)
) WITHOUT ROWID;

-- What was told last; Alertmanager's notification log.
CREATE TABLE told (
    receiver  TEXT NOT NULL,
    group_key TEXT NOT NULL,
    firing    TEXT NOT NULL, -- JSON: severity by fingerprint
    resolved  TEXT NOT NULL, -- JSON: list of fingerprints
    at        INTEGER NOT NULL,
    PRIMARY KEY (receiver, group_key)
) WITHOUT ROWID;

-- One notification to one receiver, until it took it. AUTOINCREMENT: the order of a receiver's notifications.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    key          TEXT NOT NULL UNIQUE, -- idempotency key
    receiver     TEXT NOT NULL,
    group_key    TEXT NOT NULL,
    reason       TEXT NOT NULL,
    payload      TEXT NOT NULL, -- JSON, see monitors/receivers/notification.schema.json
    created_at   INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'given_up')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_try     INTEGER NOT NULL,
    -- Set before each attempt and cleared after it: still set, the process died in between.
    sending_at   INTEGER,
    last_error   TEXT,
    closed_at    INTEGER
);
CREATE INDEX outbox_queued ON outbox (receiver, id) WHERE state = 'queued';

-- How each receiver does, and which dispatcher is sending to it.
CREATE TABLE receivers (
    name          TEXT PRIMARY KEY,
    failing_since INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    blocked_until INTEGER NOT NULL DEFAULT 0,
    last_success  INTEGER,
    lease         TEXT,
    leased_until  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
