"""Which wire format a file is in, from its content: names of columns or of JSON fields, never its own name.

A name says little (`option_chain.json` is used by all), and what a file claims to be is what a reader has to
check anyway. A file that no format, or more than one, takes for its own is not guessed at: it is a reject.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.sources.recorded_file import head_of, unread_file_reject

if TYPE_CHECKING:
    from catalog.reference import ReferenceData
    from ingest.events import CandleUpdate, ChainUpdate
    from ingest.sources.base import FileReject, SourceAdapter

HEAD_BYTES: Final = 1 << 16
"""How much of a file is looked at, without its compression: some chains list all expiries before a leg."""

ANY_FORMAT: Final = "any"
"""The source under which a file is filed that is in no known format."""

_JSON_NAME = re.compile(r'"([^"\\]{1,60})"\s*:')


@dataclass(frozen=True)
class Sample:
    """What a format is recognised by.

    Attributes:
        path: The file.
        head: Its first `HEAD_BYTES`, decompressed if it is gzip.
    """

    path: Path
    head: bytes

    @cached_property
    def text(self) -> str:
        """The head as text; bytes that are no UTF-8 became U+FFFD."""
        return self.head.decode("utf-8-sig", "replace")

    @cached_property
    def json_names(self) -> frozenset[str]:
        """Names of fields, if the file looks like a JSON object or a list of them; else none."""
        return (
            frozenset(_JSON_NAME.findall(self.text)) if self.text.lstrip()[:1] in {"{", "["} else frozenset()
        )

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The first lines that are not blank, at most ten."""
        lines = (line for line in self.text.splitlines() if line.strip())
        return tuple(line for line, _ in zip(lines, range(10), strict=False))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Fields of the first line, read as a CSV header, without surrounding blanks."""
        try:
            fields = next(csv.reader(self.lines[:1], strict=True), [])
        except csv.Error:
            return ()
        return tuple(field.strip() for field in fields)

    def has_columns(self, needed: Sequence[Sequence[str]]) -> bool:
        """Whether the header has each of these columns under one of its names."""
        return all(any(name in self.columns for name in names) for names in needed)


class AnyFormat:
    """Reads a file with the one adapter that recognises it: a source adapter made of all the others.

    Attributes:
        chosen: Files read by each source so far; `any` counts those of no known format.
    """

    name = ANY_FORMAT
    about = "whichever of the other formats the content is in"

    def __init__(self, adapters: Iterable[SourceAdapter]) -> None:
        self._adapters = tuple(adapters)
        self.suffixes = tuple(sorted({suffix for each in self._adapters for suffix in each.suffixes}))
        self.chosen: Counter[str] = Counter()

    def recognises(self, sample: Sample) -> bool:
        """Whether exactly one adapter does."""
        return len(self._claims(sample)) == 1

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | CandleUpdate | FileReject]:
        """Yield what the file's adapter does, or one reject if no adapter, or more than one, recognises it.

        Raises:
            OSError: The file cannot be opened or read.
        """
        claims = self._claims(Sample(path, head_of(path, HEAD_BYTES)))
        if len(claims) == 1:
            self.chosen[claims[0].name] += 1
            yield from claims[0].read(path, reference)
            return
        self.chosen[ANY_FORMAT] += 1
        if claims:
            names = ", ".join(each.name for each in claims)
            reason, detail = "ambiguous_format", f"it could be {names}; say which with --source"
        else:
            reason, detail = "unknown_format", "its content is in no format of 'strikelake ingest sources'"
        yield unread_file_reject(path, source=ANY_FORMAT, reason=reason, detail=detail)

    def _claims(self, sample: Sample) -> list[SourceAdapter]:
        return [each for each in self._adapters if each.recognises(sample)]
