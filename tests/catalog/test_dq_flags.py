"""The bits are the same wherever they are written down, and each says what it means."""

from __future__ import annotations

import re

import duckdb
import pytest

from catalog.dq_flags import LIFELESS, MEANINGS, DqFlag, flag_names
from lake.queries import QUERIES


def test_every_flag_is_one_bit_of_a_32_bit_column_and_has_a_meaning() -> None:
    assert all(int(flag).bit_count() == 1 and int(flag) < 2**31 for flag in DqFlag)
    assert list(MEANINGS) == list(DqFlag)
    assert all(meaning.flags in {"leg", "chain"} for meaning in MEANINGS.values())


@pytest.mark.parametrize("view", ["feed_quality_1m", "flagged_legs"])
def test_the_views_decode_the_bits_that_the_code_sets(view: str) -> None:
    sql = (QUERIES / "views" / f"{view}.sql").read_text(encoding="utf-8")
    named = re.findall(r"dq_flags & (\d+) <> 0(?: THEN '(\w+) '|\) AS (\w+))", sql)
    assert {one or other: int(bit) for bit, one, other in named} == {
        str(flag.name).lower(): int(flag) for flag in DqFlag
    }


def test_names_come_lowest_bit_first_and_bits_of_a_newer_version_are_not_hidden() -> None:
    assert flag_names(0) == []
    assert flag_names(int(DqFlag.STALE | DqFlag.CROSSED)) == ["crossed", "stale"]
    assert flag_names(1 << 29 | 1) == ["iv_bounds", "bit_29"]


def test_the_view_names_the_flags_of_a_row() -> None:
    sql = (QUERIES / "views" / "flagged_legs.sql").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        bits = ", ".join(f"({bits})" for bits in (0, 1, 6144, 2**30))
        connection.execute(f"CREATE TABLE option_chain AS FROM (VALUES {bits}) AS t(dq_flags)")
        found = connection.execute(f"SELECT dq_flags, flags FROM ({sql}) ORDER BY 1").fetchall()
    assert found == [(1, "iv_bounds"), (6144, "stale volume_falls"), (2**30, "unchecked")]


def test_what_says_nothing_of_life_is_not_called_lifeless() -> None:
    harmless = DqFlag.IV_BOUNDS | DqFlag.CROSSED | DqFlag.ONE_SIDED | DqFlag.PARITY | DqFlag.PARTIAL
    assert not LIFELESS & harmless
    assert set(LIFELESS) | set(harmless) | {DqFlag.VOLUME_FALLS} == set(DqFlag)
