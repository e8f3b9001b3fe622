"""The one stream of a lake for what is no live data: recorded files, and rows of quarantine tried again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from catalog.quarantine_store import Kept, QuarantineStore
from ingest.committer import Committer, FlushResult
from lake.errors import StrikelakeError
from lake.process_lock import ProcessLock
from lake.settings import Settings
from lake.spool import Entry, Key, Spool

APP_ID = "backfill"
"""Stream of all backfills of a lake; its spool remembers what was taken in."""


class BackfillStream:
    """Spool and committer of that stream, held by one process at a time; use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Take the stream.

        Raises:
            StreamInUseError: Another load or retry of this lake is running.
            SpoolUnavailableError: The spool cannot be opened.
        """
        spools = settings.lake.spools
        self._lock = ProcessLock(spools / f"{APP_ID}.tap.lock", role="loader of this lake")
        try:
            self._committer = Committer(settings, app_id=APP_ID)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._spool = Spool(spools / f"{APP_ID}.db")
        except BaseException:
            self._committer.close()
            self._lock.release()
            raise
        self._store = QuarantineStore(settings.lake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, identity: bytes) -> bool:
        """Whether this was taken in before."""
        return bool(self._spool.known([identity]))

    def known_among(self, identities: Sequence[bytes]) -> set[bytes]:
        """Those that were taken in before."""
        return self._spool.known(identities)

    def put(
        self,
        entries: list[Entry],
        *,
        offered: Mapping[Key, int],
        identities: Iterable[bytes],
        files: Iterable[Kept] = (),
    ) -> None:
        """Take rows in together with the identities of their input, all or nothing.

        Args:
            entries: What to keep.
            offered: Rows offered, by the table they were meant for.
            identities: Input taken in with these rows; none of it known.
            files: What rows of quarantine among them name.

        Raises:
            SpoolUnavailableError: Nothing was taken in.
            StrikelakeError: The files cannot be written; nothing was taken in.
        """
        for file in files:
            try:
                self._store.keep(file)
            except OSError as error:
                raise StrikelakeError(f"a file of quarantine cannot be written: {error}") from error
        self._spool.put(entries, offered=offered, identities=identities)

    def commit(self) -> FlushResult:
        """Commit what is spooled.

        Raises:
            StrikelakeError: It failed; what is spooled is kept.
        """
        try:
            return self._committer.flush()
        except OSError as error:
            raise StrikelakeError(
                f"a commit failed: {error}; what was spooled is kept: load again, or retry, "
                "once that is repaired"
            ) from error

    def close(self) -> None:
        """Let the next one in."""
        self._spool.close()
        self._committer.close()
        self._lock.release()
