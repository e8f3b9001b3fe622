"""Query files: what a header must say, and the order in which queries can become views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lake.errors import QueryError, StrikelakeError
from lake.queries import load_folder, load_query

WriteQuery = Callable[..., Path]

HEADER = {"purpose": "Test.", "reads": "readings", "parameters": "none", "grain": "one row", "units": "none"}


@pytest.fixture
def write_query(tmp_path: Path) -> WriteQuery:
    def write(name: str, sql: str = "SELECT 1", *lines: str, **fields: str | None) -> Path:
        header = [f"-- {key}: {text}" for key, text in {**HEADER, **fields}.items() if text is not None]
        path = tmp_path / f"{name}.sql"
        path.write_text("\n".join([*header, *lines, sql, ""]), encoding="utf-8")
        return path

    return write


def test_a_header_is_read_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "warm_stations.sql"
    path.write_text(
        "-- purpose: Stations above a temperature,\n"
        "--   warmest first.\n"
        "-- reads: readings, stations\n"
        "-- parameter $above: degrees Celsius, lowest temperature wanted\n"
        "-- parameter $since: UTC, earliest reading\n"
        "-- grain: one row per station\n"
        "-- units: degrees Celsius\n"
        "-- note: Stations without readings: none.\n"
        "-- note: A second note.\n"
        "\n"
        "SELECT station -- the name; not $a_parameter\n"
        "FROM readings WHERE t > $above AND at >= $since AND note <> 'a;b $x';\n",
        encoding="utf-8",
    )

    query = load_query(path)

    assert query.name == "warm_stations"
    assert query.purpose == "Stations above a temperature, warmest first."
    assert query.reads == ("readings", "stations")
    assert dict(query.parameters) == {
        "above": "degrees Celsius, lowest temperature wanted",
        "since": "UTC, earliest reading",
    }
    assert query.grain == "one row per station"
    assert query.units == "degrees Celsius"
    assert query.notes == ("Stations without readings: none.", "A second note.")
    assert query.sql.startswith("SELECT station")
    assert query.sql.endswith("'a;b $x'")
    assert query.path == path


def test_reads_none_means_no_table(write_query: WriteQuery) -> None:
    assert load_query(write_query("constant", reads="none")).reads == ()


def test_parameters_cannot_be_changed_after_loading(write_query: WriteQuery) -> None:
    query = load_query(write_query("constant"))
    with pytest.raises(TypeError):
        query.parameters["late"] = "seconds"  # type: ignore[index]


@pytest.mark.parametrize("key", ["purpose", "reads", "parameters", "grain", "units"])
def test_a_missing_header_field_is_an_error_that_names_file_and_field(
    write_query: WriteQuery, key: str
) -> None:
    path = write_query("broken", **{key: None})
    with pytest.raises(QueryError, match=rf"broken\.sql.*-- {key}"):
        load_query(path)


@pytest.mark.parametrize(
    ("sql", "lines", "message"),
    [
        ("", (), "no statement"),
        ("/* only a comment */", (), "no statement"),
        ("SELECT 1; SELECT 2", (), "more than one statement"),
        ("SELECT $since", (), r"differ in the parameters \$since"),
        ("SELECT 1", ("-- purpose: Again.",), "twice"),
        ("SELECT 1", ("-- porpoise: A typo.",), "not known"),
        ("SELECT 1", ("-- parameter $since: UTC",), "takes 'none' only"),
        ("SELECT 1", ("--no space",), "not a header field"),
    ],
)
def test_a_file_that_breaks_the_rules_is_refused_by_name(
    write_query: WriteQuery, sql: str, lines: tuple[str, ...], message: str
) -> None:
    path = write_query("broken", sql, *lines)
    with pytest.raises(QueryError, match=rf"broken\.sql.*({message})"):
        load_query(path)


def test_a_declared_parameter_that_the_statement_does_not_use_is_refused(write_query: WriteQuery) -> None:
    path = write_query("broken", "SELECT '$since'", "-- parameter $since: UTC", parameters=None)
    with pytest.raises(QueryError, match=r"\$since"):
        load_query(path)


@pytest.mark.parametrize("name", ["Upper", "1st", "with-dash", "drop table"])
def test_a_file_name_that_is_no_plain_identifier_is_refused(write_query: WriteQuery, name: str) -> None:
    path = write_query(name)
    with pytest.raises(QueryError, match="lower-case"):
        load_query(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"absent\.sql"):
        load_query(tmp_path / "absent.sql")
    (tmp_path / "latin.sql").write_bytes(b"-- purpose: caf\xe9\n")
    with pytest.raises(QueryError, match=r"latin\.sql"):
        load_query(tmp_path / "latin.sql")


def test_a_query_stands_after_those_it_reads(tmp_path: Path, write_query: WriteQuery) -> None:
    write_query("a", reads="c, readings")
    write_query("b", reads="a, c")
    write_query("c")
    (tmp_path / "notes.txt").write_text("no query", encoding="utf-8")

    assert [query.name for query in load_folder(tmp_path)] == ["c", "a", "b"]


def test_an_empty_folder_has_no_queries(tmp_path: Path) -> None:
    assert load_folder(tmp_path) == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="elsewhere"):
        load_folder(tmp_path / "elsewhere")


def test_a_circle_is_an_error_that_names_its_files(tmp_path: Path, write_query: WriteQuery) -> None:
    write_query("a", reads="b")
    write_query("b", reads="c")
    write_query("c", reads="a")
    write_query("outside")

    with pytest.raises(StrikelakeError) as caught:
        load_folder(tmp_path)

    message = str(caught.value)
    assert all(f"{name}.sql" in message for name in "abc")
    assert "outside.sql" not in message


def test_a_query_that_reads_itself_is_a_circle(tmp_path: Path, write_query: WriteQuery) -> None:
    write_query("a", reads="a")
    with pytest.raises(QueryError, match=r"a\.sql"):
        load_folder(tmp_path)


def test_a_name_that_exists_nowhere_is_an_error_once_the_tables_are_known(
    tmp_path: Path, write_query: WriteQuery
) -> None:
    write_query("a", reads="readings, reedings")

    assert [query.reads for query in load_folder(tmp_path)] == [("readings", "reedings")]
    with pytest.raises(QueryError, match=r"a\.sql: reads reedings"):
        load_folder(tmp_path, known={"readings"})
