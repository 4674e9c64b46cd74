"""A TOML file and on which line each of its keys is, so that a fault can say where to look. What the keys mean is not
known here.

tomllib keeps no positions. A file that it has read is valid, so cutting it into statements needs no grammar: only
strings, comments and brackets are told apart, and tomllib itself reads the keys.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from server.errors import ConfigError

MAX_BYTES = 1_000_000

Keys = tuple[str | int, ...]
_Statement = list[tuple[int, str]]  # line and word

_TOKEN = re.compile(
    # Up to two quotes that belong to a text may stand before the three that end it.
    r"""
      \"{3} (?: [^\\] | \\. )*? \"{3,5} | '{3} .*? '{3,5}
    | " (?: [^"\\\n] | \\. )* " | ' [^'\n]* '
    | \#[^\n]* | [\[\]{},=\n] | [^\s\[\]{},="'\#]+
    """,
    re.VERBOSE | re.DOTALL,
)
_PLACED = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True)
class ConfigFile:
    path: Path
    data: dict[str, Any]
    text: str

    def line(self, *keys: str | int) -> int:
        """Where the file writes the innermost of these keys that it has: `("machines", 3, "code")` is the fourth
        machine's code, or where that machine begins if it has none."""
        return next(self._lines[keys[:length]] for length in range(len(keys), -1, -1) if keys[:length] in self._lines)

    def fault(self, text: str, *keys: str | int) -> str:
        """`config/channels.toml:17: ` and the text."""
        return f"{self.path}:{self.line(*keys)}: {text}"

    @cached_property
    def _lines(self) -> dict[Keys, int]:
        return _Lines(self.text).found


def read(path: Path) -> ConfigFile:
    """Raises ConfigError with the path, and the line where there is one."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: more than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None
    try:
        return ConfigFile(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}:{_not_toml(str(error), text)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def faults(messages: object, *keys: str | int) -> Iterator[tuple[Keys, str]]:
    """Each of a ValidationError's normalized messages with the keys that lead to what it is about."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from faults(inner, *keys, *(() if key == "_schema" else (key,)))
    elif isinstance(messages, list):
        for each in messages:
            yield from faults(each, *keys)
    else:
        yield keys, str(messages)


def _not_toml(message: str, text: str) -> str:
    placed = _PLACED.fullmatch(message)
    if placed is None:
        return f" not TOML: {message}"
    if placed["line"] is None:
        return f"{len(text.splitlines()) or 1}: not TOML: {placed['what']}, and there the file ends"
    return f"{placed['line']}: not TOML: {placed['what']} (column {placed['column']})"


class _Lines:
    """`found`: the line of every table and key that is not inside an inline table, and of the items of arrays."""

    def __init__(self, text: str) -> None:
        self.found: dict[Keys, int] = {(): 1}
        self._last: dict[Keys, int] = {}  # the index of the newest table of each array of tables
        self._table: Keys = ()
        for statement in _statements(text):
            words = [word for _, word in statement]
            if words[0] == "[":
                self._header(statement[0][0], words)
            else:
                self._assignment(statement, words.index("="))

    def _header(self, line: int, words: Sequence[str]) -> None:
        """`[a.b]`, `[[a.b]]`"""
        *outer, name = _keys(word for word in words if word not in ("[", "]"))
        path = (*self._within((), outer, line), name)
        if words[1] == "[":
            self._last[path] = self._last.get(path, -1) + 1
            self.found.setdefault(path, line)
            path = (*path, self._last[path])
        self._table = path
        self.found[path] = line

    def _assignment(self, statement: _Statement, equals: int) -> None:
        line = statement[0][0]
        *outer, name = _keys(word for _, word in statement[:equals])
        path = (*self._within(self._table, outer, line), name)
        self.found[path] = line
        if statement[equals + 1][1] == "[":
            for index, at in enumerate(_items(statement[equals + 2 :])):
                self.found[(*path, index)] = at

    def _within(self, path: Keys, keys: Sequence[str], line: int) -> Keys:
        for key in keys:
            path = (*path, key)
            self.found.setdefault(path, line)
            if path in self._last:
                path = (*path, self._last[path])
        return path


def _statements(text: str) -> Iterator[_Statement]:
    line, depth = 1, 0
    statement: _Statement = []
    for match in _TOKEN.finditer(text + "\n"):
        word = match[0]
        if word == "\n":
            if statement and depth == 0:
                yield statement
                statement = []
        elif not word.startswith("#"):
            statement.append((line, word))
            depth += _deeper(word)
        line += word.count("\n")


def _items(array: _Statement) -> Iterator[int]:
    """The line of each item of the array whose opening bracket came before."""
    depth, expected = 1, True
    for line, word in array:
        if depth == 1 and expected and word != "]":
            yield line
        expected = word == ","
        depth += _deeper(word)


def _deeper(word: str) -> int:
    return (word in ("[", "{")) - (word in ("]", "}"))


def _keys(words: Iterator[str]) -> list[str]:
    """Of `a."b c".d` what tomllib makes of it."""
    found: list[str] = []
    value: Any = tomllib.loads("".join(words) + "=0")
    while isinstance(value, dict):
        [(key, value)] = value.items()
        found.append(key)
    return found
