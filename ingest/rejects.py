"""The rows of quarantine as they stand: found, grouped, and read in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final, Self

import pyarrow as pa

from catalog.contracts import QUARANTINE, QUARANTINE_RETRIES
from catalog.quarantine_store import QuarantineStore
from lake.errors import MalformedInputError
from lake.queries import QUERIES, load_folder
from lake.session import Session
from lake.table import Lake

_PIECE_ROWS: Final = 5_000
_PIECE_CHARS: Final = 32_000_000

_SQL = {
    query.name: query.sql
    for query in load_folder(QUERIES / "quarantine", known={QUARANTINE.table, QUARANTINE_RETRIES.table})
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of quarantine are meant; None is all."""

    reason: str | None = None
    source: str | None = None
    date: date | None = None
    exchange: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of quarantine.

    Attributes:
        reject_id: Its id.
        date: Session date it is filed under.
        exchange: Exchange it is filed under.
        received_us: When strikelake got the input first, epoch microseconds.
        meant_for: The table it was meant for.
        reason: Why it became no row.
        source: Who brought it.
        payload: JSON; the beginning, where it is long.
        origin: JSON, None where it is long.
        stored: The file that has both whole, or the file that was rejected; None if there is none.
    """

    reject_id: str
    date: date
    exchange: str
    received_us: int
    meant_for: str
    reason: str
    source: str
    payload: str
    origin: str | None
    stored: str | None

    @property
    def input(self) -> str:
        """What the rows of one input share."""
        return self.reject_id.rpartition("-")[0]

    def whole(self, store: QuarantineStore) -> tuple[str, str | None]:
        """Payload and origin, JSON each, whole.

        Raises:
            MalformedInputError: The file that has them is gone or damaged.
        """
        if self.stored is None or not self.stored.endswith(".json.gz"):
            return self.payload, self.origin
        return store.read_record(self.stored)


@dataclass(frozen=True, slots=True)
class Selected:
    """The rows to be tried again.

    Attributes:
        pieces: Their ids in bounded pieces, each of one date and exchange.
        rows: How many they are.
        not_retriable: Further rows, kept without what it takes: by an earlier version, or since it never
            came, as of a message beyond the limit of its connection.
    """

    pieces: list[tuple[date, str, list[str]]]
    rows: int
    not_retriable: int


class Rejects:
    """A look at quarantine, what is spooled included; use it as a context manager, from one thread."""

    def __init__(self, lake: Lake) -> None:
        """Bind the tables as they are now.

        Raises:
            TableNotFoundError: The lake has no tables.
        """
        self._session = Session(lake, live=True)
        connection = self._session.connection
        for contract in (QUARANTINE, QUARANTINE_RETRIES):
            if contract.table not in self._session.snapshots:
                connection.register(contract.table, contract.schema.empty_table())
        connection.execute(f"CREATE TEMP VIEW rejects AS {_SQL['rejects']}")
        self._widened = "reject_id" in connection.sql(f"FROM {QUARANTINE.table}").columns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def groups(self, selection: Selection, *, closed: bool) -> list[dict[str, Any]]:
        """Rows by reason, source and table, the most first.

        Args:
            selection: Which.
            closed: Whether those that came in since count, too.
        """
        given = {name: value for name, value in asdict(selection).items() if name != "id"}
        groups: list[dict[str, Any]] = self._run("groups", {**given, "all": closed}).to_pylist()
        return groups

    def one(self, reject_id: str) -> dict[str, Any]:
        """All that the tables have of one row.

        Args:
            reject_id: Its id, or the beginning of it.

        Raises:
            MalformedInputError: There is none, or more than one.
        """
        found = self._run("one", {"id": reject_id}).to_pylist()
        if len(found) != 1 and not any(row["reject_id"] == reject_id for row in found):
            what = "more than one row of quarantine begins with" if found else "no row of quarantine has"
            raise MalformedInputError(f"{what} the id {reject_id!r}: see 'strikelake ingest quarantine list'")
        row: dict[str, Any] = next((row for row in found if row["reject_id"] == reject_id), found[0])
        return row

    def select(self, selection: Selection) -> Selected:
        """The rows that have not come in yet."""
        found = self._run("selected", asdict(selection))
        pieces: list[tuple[date, str, list[str]]] = []
        rows = 0
        retriable = found.filter(found.column("retriable")).select(
            ["date", "exchange", "reject_id", "size_chars"]
        )
        records = (row for batch in retriable.to_batches(max_chunksize=10_000) for row in batch.to_pylist())
        for (day, exchange, _), legs in groupby(records, key=_input):
            given = list(legs)
            rows += len(given)
            self._cut(pieces, day, exchange, given)
        return Selected(pieces, rows, found.num_rows - rows)

    def _cut(self, pieces: list[tuple[date, str, list[str]]], day: date, exchange: str, given: Any) -> None:
        """Put the rows of one input into the last piece or into new ones; an input stays whole if it can."""
        chars = sum(row["size_chars"] for row in given)
        if not pieces or pieces[-1][:2] != (day, exchange) or not self._fits(pieces[-1], len(given), chars):
            pieces.append((day, exchange, []))
            self._chars = 0
        for row in given:
            if not self._fits(pieces[-1], 1, row["size_chars"]):
                pieces.append((day, exchange, []))
                self._chars = 0
            pieces[-1][2].append(row["reject_id"])
            self._chars += row["size_chars"]

    def _fits(self, piece: tuple[date, str, list[str]], rows: int, chars: int) -> bool:
        return not piece[2] or (len(piece[2]) + rows <= _PIECE_ROWS and self._chars + chars <= _PIECE_CHARS)

    def rows(self, piece: tuple[date, str, list[str]]) -> Iterator[Kept]:
        """The rows of one piece, by id, each once."""
        if not self._widened:
            return
        day, exchange, ids = piece
        last = None
        for row in self._run("whole", {"date": day, "exchange": exchange, "ids": ids}).to_pylist():
            if row["reject_id"] != last:
                last = row["reject_id"]
                yield Kept(**row)

    def _run(self, name: str, parameters: dict[str, Any]) -> pa.Table:
        return self._session.table(_SQL[name], parameters)


def _input(row: dict[str, Any]) -> tuple[date, str, str]:
    return row["date"], row["exchange"], row["reject_id"].rpartition("-")[0]
