"""A file's format is found from its content, whatever it is called; what is not certain is not guessed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import ADAPTERS, ANY_FORMAT, AnyFormat
from ingest.sources.base import FileReject


def read_any(path: Path, reference: ReferenceData) -> tuple[AnyFormat, list[Any]]:
    reader = AnyFormat(ADAPTERS.values())
    return reader, list(reader.read(path, reference))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"<html><title>Resource not found</title></html>",
        b"Name,Value\n1,2\n",
        b'{"expiryDates": ["14-Jul-2026"], "strikePrice": ["24000"]}',
        b"[[[[",
        b"\xff\xfe\x00\x01" * 99,
        gzip.compress(b"{}", mtime=0)[:-6],
        b"a" * 100_000,
        b"a" + b"{" * 100_000,
        b"{" * 100_000,
        b"'" * 100_000,
        b"\n" * 100_000,
    ],
)
def test_what_is_in_no_known_format_is_one_reject_with_its_beginning(
    content: bytes, tmp_path: Path, reference: ReferenceData
) -> None:
    path = tmp_path / "recorded.json"
    path.write_bytes(content)
    reader, items = read_any(path, reference)
    (reject,) = items
    assert isinstance(reject, FileReject)
    assert (reject.source, reject.reject.reason) == (ANY_FORMAT, "unknown_format")
    assert reject.reject.payload["bytes"] == len(content)
    assert dict(reader.chosen) == {ANY_FORMAT: 1}
    (again,) = read_any(path, reference)[1]
    assert again.identity == reject.identity


class Twin:
    """A second adapter for a format that has one."""

    name, about, suffixes = "twin", "", (".csv",)

    def recognises(self, sample: Any) -> bool:
        return "Strike" in sample.columns

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        raise AssertionError(f"{path} must not be read by a guess, {reference}")


def test_a_file_that_two_formats_claim_is_a_reject_that_names_both(
    samples: Path, reference: ReferenceData
) -> None:
    path = samples / "kite_poll_csv" / "2026-01-22" / "index_OC_2026-01-22_03-15.csv"
    (reject,) = AnyFormat([*ADAPTERS.values(), Twin()]).read(path, reference)
    assert isinstance(reject, FileReject)
    assert reject.reject.reason == "ambiguous_format"
    assert "kite-poll, twin" in reject.reject.detail


def test_a_missing_file_is_no_format(tmp_path: Path, reference: ReferenceData) -> None:
    with pytest.raises(FileNotFoundError):
        read_any(tmp_path / "absent", reference)
