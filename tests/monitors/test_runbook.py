"""Each section of the runbook says what a person needs, and its commands exist."""

from __future__ import annotations

import functools
import re
import shlex

import pytest
from command_line import call
from health_lake import HealthLake

from lake.settings import Settings
from monitors.rules import runbook_sections

SECTIONS = runbook_sections()
PARTS = ("**Means.**", "**Look.**", "**Do.**", "**Close**")


def commands(text: str) -> list[list[str]]:
    """Every `strikelake ...` of a section: lines of its blocks, and what stands in backticks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(strikelake [^`\n]+)`", re.sub(r"```sh\n.*?```", "", text, flags=re.DOTALL))
    return [shlex.split(line)[1:] for line in lines if line.startswith("strikelake ")]


@functools.cache
def help_of(*words: str) -> str:
    done = call([*words, "--help"])
    assert done.exit_code == 0, words
    return done.stdout


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_how_to_look_what_to_do_and_when_to_close(name: str) -> None:
    places = [SECTIONS[name].find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert commands(SECTIONS[name])


@pytest.mark.parametrize("name", SECTIONS)
def test_every_command_of_a_section_exists_with_its_options(name: str) -> None:
    for words in commands(SECTIONS[name]):
        first = words[0]
        top = help_of(first)
        has_commands = (
            re.search(rf"^  {re.escape(words[1])}\b", top, re.MULTILINE) if len(words) > 1 else None
        )
        told = help_of(*words[:2]) if has_commands else top
        assert has_commands or "Commands:" not in top, words
        for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
            assert re.search(rf"{re.escape(option)}\b", told), (words, option)


@pytest.mark.parametrize(
    "query", sorted({w[1] for text in SECTIONS.values() for w in commands(text) if w[0] == "sql"})
)
def test_every_query_of_the_runbook_runs(well: HealthLake, query: str) -> None:
    settings: Settings = well.settings
    done = call(["--root", str(settings.root), "sql", query, "--output", "json"])
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("name", ["feed_stale", "chain_cut"])
def test_the_command_prints_a_section_by_its_name_and_by_that_of_a_rule(name: str) -> None:
    told = call(["monitors", "runbook", name])
    assert told.exit_code == 0
    assert "**Means.**" in told.stdout
