"""Where alerts, silences, groups and the outbox are kept: one SQLite file, `<root>/monitors.db`.

WAL and `synchronous=FULL`: what a transaction committed survives a SIGKILL and a power cut. Every change is
made in a transaction that takes the write lock at once, so that two runs at the same time follow one another.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake.durability import sync_names
from lake.errors import MonitorsUnavailableError
from monitors.alerts import (
    Acknowledgement,
    Alert,
    AlertState,
    Finding,
    Outcome,
    RuleRun,
    Severity,
    Transition,
)
from monitors.grouping import Group, Told
from monitors.matchers import Matcher
from monitors.plain_json import json_text
from monitors.silences import Silence

FILE_NAME = "monitors.db"
SCHEMA_VERSION = 1
_SCHEMA = Path(__file__).with_name("alert_store.sql")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(at: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(at: int) -> datetime:
    """The time of `to_us`."""
    return _EPOCH + timedelta(microseconds=at)


class AlertStore:
    """One connection; use it from one thread, open as many as there are threads.

    Raises:
        MonitorsUnavailableError: From every method: the file is locked, damaged, the disk full or failing;
            nothing was changed, try again.
    """

    def __init__(self, path: Path, *, timeout_s: float = 30.0) -> None:
        """Open a store, creating it if need be.

        Args:
            path: The file.
            timeout_s: How long a lock of another process is waited for.

        Raises:
            MonitorsUnavailableError: As above, or it was made by a newer strikelake.
        """
        self.path = path
        with _mapped(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if self._version() == 0:
            with self.transaction() as db:
                if self._version() == 0:  # else another run made it meanwhile
                    for statement in _statements(_SCHEMA.read_text(encoding="utf-8")):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            sync_names(self.path.parent, up_to=self.path.parent)
        if self._version() != SCHEMA_VERSION:
            raise MonitorsUnavailableError(
                f"{self.path} has schema {self._version()}, this strikelake knows {SCHEMA_VERSION}: update it"
            )

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> AlertStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on the disk when it returns; nobody else writes meanwhile."""
        with _mapped(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with _mapped(self.path):
            return self._db.execute(sql, values).fetchall()

    # Alerts

    def alerts(self) -> list[Alert]:
        """All alerts, worst first, then by rule, exchange and labels."""
        rows = self.rows(
            "SELECT rule, state, severity, peak, finding, active_since, starts_at, ends_at, updated_at, held,"
            " acknowledged FROM alerts"
        )
        alerts = [_alert(*row) for row in rows]
        return sorted(
            alerts,
            key=lambda a: (-a.finding.severity, a.finding.rule, a.exchange, sorted(a.finding.labels.items())),
        )

    def keep_alert(self, alert: Alert) -> None:
        """Write one alert, whether it is there or not; within a transaction."""
        found, seen = alert.finding, alert.acknowledgement
        finding = {
            "labels": dict(found.labels), "value": found.value, "summary": found.summary,
            "evidence": dict(found.evidence), "runbook": found.runbook, "tags": list(found.tags),
        }  # fmt: skip
        acknowledged = seen and {
            "author": seen.author, "comment": seen.comment, "at": to_us(seen.at),
            "severity": seen.severity.name,
        }  # fmt: skip
        self._db.execute(
            "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                alert.fingerprint, found.rule, alert.exchange, alert.state.value, found.severity.name,
                alert.peak.name, json_text(finding), to_us(alert.active_since), _us_or_none(alert.starts_at),
                _us_or_none(alert.ends_at), to_us(alert.updated_at), alert.held,
                None if acknowledged is None else json_text(acknowledged),
            ),
        )  # fmt: skip

    def forget_alert(self, fingerprint: str) -> None:
        """Delete one alert; within a transaction."""
        self._db.execute("DELETE FROM alerts WHERE fingerprint = ?", (fingerprint,))

    def note(self, transitions: Iterable[Transition]) -> None:
        """Write changes down; within a transaction."""
        self._db.executemany(
            "INSERT INTO transitions (at, fingerprint, rule, exchange, state_before, state_after, severity,"
            " value, summary, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    to_us(t.at), t.alert.fingerprint, t.alert.finding.rule, t.alert.exchange, t.before,
                    t.after, t.alert.finding.severity.name, t.alert.finding.value,
                    t.alert.finding.summary, t.why,
                )
                for t in transitions
            ],
        )  # fmt: skip

    # Rules

    def newer_runs(self, now: datetime) -> set[tuple[str, str]]:
        """(rule, exchange) that were evaluated later than this."""
        return set(self.rows("SELECT rule, exchange FROM rule_runs WHERE at > ?", to_us(now)))

    def keep_runs(self, now: datetime, runs: Iterable[RuleRun]) -> None:
        """Write down when rules were evaluated and how that ended; within a transaction."""
        self._db.executemany(
            "INSERT OR REPLACE INTO rule_runs VALUES (?, ?, ?, ?, ?)",
            [(r.terms.name, r.exchange, to_us(now), r.outcome.value, r.detail) for r in runs],
        )

    def last_runs(self) -> dict[tuple[str, str], tuple[datetime, Outcome, str]]:
        """When each rule was evaluated last on each exchange, how that ended, and why."""
        return {
            (rule, exchange): (from_us(at), Outcome(outcome), detail)
            for rule, exchange, at, outcome, detail in self.rows(
                "SELECT rule, exchange, at, outcome, detail FROM rule_runs ORDER BY 1, 2"
            )
        }

    # Silences

    def silences(self) -> list[Silence]:
        """All silences, oldest first."""
        return [
            Silence(
                name, tuple(Matcher.parse(text) for text in json.loads(matchers)), from_us(starts_at),
                from_us(ends_at), author, comment, from_us(created_at),
            )
            for name, matchers, starts_at, ends_at, author, comment, created_at in self.rows(
                "SELECT id, matchers, starts_at, ends_at, author, comment, created_at FROM silences"
                " ORDER BY created_at, id"
            )
        ]  # fmt: skip

    def keep_silence(self, silence: Silence) -> None:
        """Write one silence; within a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO silences VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                silence.id, json_text([str(m) for m in silence.matchers]), to_us(silence.starts_at),
                to_us(silence.ends_at), silence.author, silence.comment, to_us(silence.created_at),
            ),
        )  # fmt: skip

    # Groups

    def groups(self) -> list[Group]:
        """All groups, by receiver and key."""
        return [
            Group(
                receiver, tuple(json.loads(key).items()), from_us(next_look), bool(looked),
                None if emptied_at is None else from_us(emptied_at), frozenset(json.loads(members)),
            )
            for receiver, key, next_look, looked, emptied_at, members in self.rows(
                "SELECT receiver, group_key, next_look, looked, emptied_at, members FROM groups ORDER BY 1, 2"
            )
        ]  # fmt: skip

    def keep_group(self, group: Group) -> None:
        """Write one group; within a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?)",
            (
                group.receiver, group.key, to_us(group.next_look), group.looked,
                _us_or_none(group.emptied_at), json_text(sorted(group.members)),
            ),
        )  # fmt: skip

    def forget_group(self, group: Group) -> None:
        """Delete one group, and what was told of it; within a transaction."""
        for table in ("groups", "told"):
            self._db.execute(
                f"DELETE FROM {table} WHERE receiver = ? AND group_key = ?", (group.receiver, group.key)
            )

    def told(self, group: Group) -> Told | None:
        """What the receiver was told of a group last."""
        rows = self.rows(
            "SELECT firing, resolved, at FROM told WHERE receiver = ? AND group_key = ?",
            group.receiver, group.key,
        )  # fmt: skip
        for firing, resolved, at in rows:
            severities = {mark: Severity[name] for mark, name in json.loads(firing).items()}
            return Told(severities, frozenset(json.loads(resolved)), from_us(at))
        return None

    def keep_told(self, group: Group, told: Told) -> None:
        """Write down what the receiver is told of a group; within a transaction."""
        firing = {mark: severity.name for mark, severity in told.firing.items()}
        self._db.execute(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)",
            (group.receiver, group.key, json_text(firing), json_text(sorted(told.resolved)), to_us(told.at)),
        )

    def prune(self, before: datetime) -> None:
        """Forget what ended before a time: resolved alerts, silences, history, closed notifications."""
        for sql in (
            "DELETE FROM alerts WHERE state = 'resolved' AND ends_at < ?",
            "DELETE FROM transitions WHERE at < ?",
            "DELETE FROM silences WHERE ends_at < ?",
            "DELETE FROM outbox WHERE state != 'queued' AND closed_at < ?",
        ):
            self._db.execute(sql, (to_us(before),))


def _alert(
    rule: str, state: str, severity: str, peak: str, finding: str, active_since: int, starts_at: int | None,
    ends_at: int | None, updated_at: int, held: int, acknowledged: str | None,
) -> Alert:  # fmt: skip
    found = json.loads(finding)
    seen = None if acknowledged is None else json.loads(acknowledged)
    return Alert(
        finding=Finding(
            rule, found["labels"], Severity[severity], found["value"], found["summary"], found["evidence"],
            found["runbook"], tuple(found["tags"]),
        ),
        state=AlertState(state),
        peak=Severity[peak],
        active_since=from_us(active_since),
        starts_at=None if starts_at is None else from_us(starts_at),
        ends_at=None if ends_at is None else from_us(ends_at),
        updated_at=from_us(updated_at),
        held=bool(held),
        acknowledgement=seen
        and Acknowledgement(seen["author"], seen["comment"], from_us(seen["at"]), Severity[seen["severity"]]),
    )  # fmt: skip


def _us_or_none(at: datetime | None) -> int | None:
    return None if at is None else to_us(at)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise MonitorsUnavailableError(f"state of the monitors {path}: {error}") from error
