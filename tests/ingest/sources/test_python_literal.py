"""Python literals against Python's own reader of them."""

from __future__ import annotations

import ast
import json
import time
import tracemalloc
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.json_document import RepeatedNames
from ingest.sources.python_literal import parse
from ingest.sources.recorded_file import NotARecordingError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES.filter(lambda value: "inf" not in repr(value)))
def test_what_repr_writes_is_read_as_python_reads_it(value: Any) -> None:
    assert parse(repr(value)) == ast.literal_eval(repr(value)) == value


@given(VALUES.filter(lambda value: "inf" not in repr(value)), st.booleans())
def test_json_is_read_as_well(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only, indent=1)) == value


def test_names_inside_texts_are_left_alone() -> None:
    text = """{'True': "None, it's", 'a': [True, 'False', 1e-05, -1E+5], "nan": 'x"y'}"""
    assert parse(text) == ast.literal_eval(text)


@given(st.datetimes().map(lambda moment: moment.replace(fold=0)))
def test_a_time_is_its_iso_text(moment: datetime) -> None:
    assert parse(repr([moment])) == [moment.isoformat()]


def test_a_time_that_is_none_is_the_text_it_came_as() -> None:
    text = "datetime.datetime(2021, 13, 20)"
    assert parse(f"[{text}, '{text}']") == [text, text]


def test_numbers_that_are_none_are_the_texts_that_number_fields_refuse() -> None:
    assert parse("{'a': nan, 'b': -inf, 'c': NaN}") == {"a": "NaN", "b": "-Infinity", "c": "NaN"}


def test_a_key_that_comes_twice_is_kept_twice() -> None:
    value = parse("{'a': 1, 'a': 2}")
    assert isinstance(value, RepeatedNames)
    assert value.pairs == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1",
        "{'a'",
        "'",
        "'a\\",
        "(1, 2)",
        "{1: 2}",
        "{'a': 1_000}",
        "[1] [2]",
        "__import__('os').system('true')",
        "{'a': datetime.date(2021, 8, 20)}",
        "'\\x4'",
        "'\\q'",
        "'\\U00110000'",
        "[" * 100_000,
        "{'a': " * 100_000,
        "<html>",
    ],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(NotARecordingError) as caught:
        parse(text)
    assert caught.value.reason == "malformed_payload"
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("piece", ["'", "\\'", '"', '\\"', "'\\", "a", "{", "{'a':", "[],", "1e"])
def test_hostile_text_costs_time_and_memory_in_proportion_to_its_length(piece: str) -> None:
    text = "'" + piece * (1_000_000 // len(piece))
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(NotARecordingError):
        parse(text)
    took_s = time.process_time() - started
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took_s < 10
    assert peak_bytes < 200 * len(text)
