"""Matchers, silences and inhibition mean what they mean in Alertmanager."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lake.errors import SettingsError
from monitors.matchers import Matcher
from monitors.silences import new_silence

NOW = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ('exchange="NSE"', "NSE", True),
        ("exchange=NSE", "NSE", True),
        (' exchange = "NSE" ', "NSE", True),
        ("exchange=NSE", "NSEX", False),
        ("exchange!=NSE", "BSE", True),
        ("exchange!=NSE", None, True),
        ("exchange=~NSE|BSE", "BSE", True),
        ("exchange=~NS", "NSE", False),
        ('exchange=~"N.*"', "NSE", True),
        (r'exchange=~"N\.E"', "NSE", False),
        (r'exchange=~"N\.E"', "N.E", True),
        ("exchange!~N.*", "NSE", False),
        ("exchange!~N.*", None, True),
        ('exchange=""', None, True),
        ("exchange=", None, True),
        (r'exchange="a\"b\\c\n"', 'a"b\\c\n', True),
    ],
)
def test_a_matcher_matches_as_alertmanagers(text: str, value: str | None, matches: bool) -> None:
    matcher = Matcher.parse(text)
    labels = {"rule": "x"} | ({} if value is None else {"exchange": value})
    assert matcher.matches(labels) is matches
    assert Matcher.parse(str(matcher)) == matcher


@pytest.mark.parametrize(
    "text", ["", "NSE", "exchange", "ex change=NSE", "=NSE", "a==b c", 'a="b', "a=~(", "1a=b"]
)
def test_what_is_no_matcher_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SettingsError, match="matcher"):
        Matcher.parse(text)


@pytest.mark.parametrize(
    ("matchers", "given", "says"),
    [
        ([], {}, "does not match everything"),
        (["exchange=~.*", "symbol!=x"], {}, "does not match everything"),
        (["exchange=NSE"], {"ends_at": NOW}, "end after it starts"),
        (["exchange=NSE"], {"starts_at": NOW - 2 * HOUR, "ends_at": NOW - HOUR}, "future"),
        (["exchange=NSE"], {"author": " "}, "author"),
        (["exchange=NSE"], {"comment": ""}, "comment"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(
    matchers: list[str], given: dict[str, object], says: str
) -> None:
    terms: dict[str, object] = {"ends_at": NOW + HOUR, "author": "me", "comment": "upgrade", **given}
    with pytest.raises(SettingsError, match=says):
        new_silence(NOW, [Matcher.parse(text) for text in matchers], **terms)  # type: ignore[arg-type]


def test_a_silence_holds_from_its_start_to_before_its_end() -> None:
    silence = new_silence(
        NOW, [Matcher.parse("exchange=NSE")], starts_at=NOW + HOUR, ends_at=NOW + 2 * HOUR, author="me",
        comment="maintenance",
    )  # fmt: skip
    microsecond = timedelta(microseconds=1)
    states = [
        silence.state(NOW + HOUR - microsecond),
        silence.state(NOW + HOUR),
        silence.state(NOW + 2 * HOUR),
    ]
    assert states == ["waiting", "active", "expired"]
