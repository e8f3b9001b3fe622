"""YAML in which every value knows its line; only plain data, and no key twice."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake.errors import SettingsError

_INT, _FLOAT, _BOOL, _NULL, _STR = (
    f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "str")
)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a file.

    Attributes:
        value: Text of a scalar; None for null; a list or a mapping of nodes.
        tag: YAML's type of a scalar.
        path: The file.
        line: Where the value begins, from 1.
        key_line: Where its key is, the same line for what has none.
    """

    value: Any
    tag: str
    path: Path
    line: int
    key_line: int

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path}:{self.key_line}"

    def error(self, told: str, *, at_key: bool = False) -> SettingsError:
        """An error that names file and line."""
        return SettingsError(f"{self.path}:{self.key_line if at_key else self.line}: {told}")

    def mapping(self, what: str) -> dict[str, Node]:
        """The value as a mapping.

        Raises:
            SettingsError: It is none.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"{what} must be a mapping (name: value), not {self._kind()}")
        return self.value

    def sequence(self) -> list[Node]:
        """The value as a list.

        Raises:
            SettingsError: It is none.
        """
        if not isinstance(self.value, list):
            raise SettingsError(f"must be a list, [a, b], not {self._kind()}")
        return self.value

    def text(self, *, also_numbers: bool = False) -> str:
        """The value as text.

        Raises:
            SettingsError: It is none, or empty.
        """
        wanted = {_STR, _INT, _FLOAT} if also_numbers else {_STR}
        if not isinstance(self.value, str) or self.tag not in wanted or not self.value.strip():
            raise SettingsError(f"must be text, not {self._kind()}")
        return self.value

    def number(self, *, lowest: float = -math.inf, highest: float = math.inf) -> float:
        """The value as a finite number.

        Raises:
            SettingsError: It is none, or not within the bounds.
        """
        number = math.nan
        if isinstance(self.value, str) and self.tag in {_INT, _FLOAT}:
            with suppress(ValueError):  # .inf, 0x10, 1:30
                number = float(self.value.replace("_", ""))
        if not math.isfinite(number):
            raise SettingsError(f"must be a number, not {self._kind()}")
        if not lowest <= number <= highest:
            raise SettingsError(f"must be from {lowest:g} to {highest:g}, not {self.value}")
        return number

    def whole(self, *, lowest: int, highest: int) -> int:
        """The value as a whole number.

        Raises:
            SettingsError: It is none, or not within the bounds.
        """
        number = self.number(lowest=lowest, highest=highest)
        if not number.is_integer():
            raise SettingsError(f"must be a whole number, not {self.value}")
        return int(number)

    def boolean(self) -> bool:
        """The value as true or false.

        Raises:
            SettingsError: It is neither.
        """
        if self.tag != _BOOL or self.value.lower() not in {"true", "false"}:
            raise SettingsError(f"must be true or false, not {self._kind()}")
        return bool(self.value.lower() == "true")

    def _kind(self) -> str:
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return "nothing" if self.tag == _NULL or not self.value else repr(self.value)


def read_yaml(path: Path) -> Node:
    """Read a file of one YAML document.

    Raises:
        SettingsError: It cannot be read or is no valid YAML; the message names file and line.
    """
    try:
        import yaml
    except ImportError as error:
        raise SettingsError("the monitors need PyYAML: pip install 'strikelake[monitors]'") from error

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    try:
        # Composed, not constructed: no tag is ever made into an object.
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{path}:{line}: this is no valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: this is no valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return Node(None, _NULL, path, 1, 1)
    return _node(tree, path, tree.start_mark.line + 1, depth=0)


def _node(tree: Any, path: Path, key_line: int, depth: int) -> Node:
    line = tree.start_mark.line + 1
    if depth > 8:
        raise SettingsError(f"{path}:{line}: nested too deeply")
    if tree.id == "sequence":
        items = [_node(item, path, item.start_mark.line + 1, depth + 1) for item in tree.value]
        return Node(items, tree.tag, path, line, key_line)
    if tree.id == "scalar":
        return Node(None if tree.tag == _NULL else tree.value, tree.tag, path, line, key_line)
    found: dict[str, Node] = {}
    for key, value in tree.value:
        at = key.start_mark.line + 1
        if key.id != "scalar" or key.tag != _STR:
            told = "true/false" if key.tag == _BOOL else "no text"
            raise SettingsError(f"{path}:{at}: a key is {told}: {getattr(key, 'value', '')!r}; quote it")
        if key.value in found:
            raise SettingsError(
                f"{path}:{at}: {key.value!r} stands there twice, first in line {found[key.value].key_line}"
            )
        found[key.value] = _node(value, path, at, depth + 1)
    return Node(found, tree.tag, path, line, key_line)
