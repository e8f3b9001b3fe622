"""Matchers of labels, as Alertmanager writes and reads them: `name="value"`, `!=`, `=~`, `!~`.

A label that is not there matches as an empty value; regular expressions match the whole value.

https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

from lake.errors import SettingsError

Operator = Literal["=", "!=", "=~", "!~"]
_FORM = re.compile(r"""\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s]*))\s*""")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label.

    Raises:
        SettingsError: The value is no regular expression, where it has to be one.
    """

    name: str
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        if self.operator in {"=~", "!~"}:
            try:
                _compiled(self.value)
            except re.error as error:
                raise SettingsError(f"matcher {self}: not a regular expression: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read `name="value"` or `name=value`.

        Raises:
            SettingsError: It is not of that form.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            raise SettingsError(f'matcher {text!r}: write name="value", or with != =~ !~ for =')
        name, operator, quoted, bare = form.groups()
        value = bare if quoted is None else re.sub(r"\\(.)", _unescaped, quoted)
        return cls(name, cast("Operator", operator), value)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels keep the condition."""
        value = labels.get(self.name, "")
        if self.operator in {"=", "!="}:
            return (value == self.value) is (self.operator == "=")
        return (_compiled(self.value).fullmatch(value) is not None) is (self.operator == "=~")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether labels keep every condition."""
    return all(matcher.matches(labels) for matcher in matchers)


def _unescaped(found: re.Match[str]) -> str:
    # As in Prometheus, an escape that means nothing else keeps its backslash: `NSE\.FO` needs no second one.
    return {"n": "\n", '"': '"', "\\": "\\"}.get(found[1], found[0])


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
