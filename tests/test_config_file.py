from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import config_file
from server.config_file import MAX_BYTES, ConfigFile, Keys
from server.errors import ConfigError


def of(text: str) -> ConfigFile:
    return ConfigFile(Path("a.toml"), tomllib.loads(text), text)


WRITTEN = '''\
# [comment]
top = 1  # = 2
"quoted key" = "# no comment"
dotted.'x'."y z" = """
[not.a.table]
k = "v\\""""""
inline = { a = 1, b = { c = [1, 2] } }

[general]
subscribe = [  # "]"
  "any", [1,
  2],
  { code = "]" },
]
when = 1979-05-27 07:32:00

[ "ticks:*" . conflate ]
rate = 1

["ticks:*"]
\tpresence = \'\'\'
[[machines]]
\'\'\'

[[machines]]
code = "a"
[[machines.tags]]
name = 't'
[[machines.tags]]
name = 'u'
[machines.more]
x.y = 1
[[machines]]
code = ""
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("absent",), 1),
        (("top",), 2),
        (("quoted key",), 3),
        (("dotted",), 4),
        (("dotted", "x", "y z"), 4),
        (("inline",), 7),
        (("inline", "b", "c", 1), 7),
        (("general",), 9),
        (("general", "absent"), 9),
        (("general", "subscribe"), 10),
        (("general", "subscribe", 0), 11),
        (("general", "subscribe", 1), 11),
        (("general", "subscribe", 1, 1), 11),
        (("general", "subscribe", 2, "code"), 13),
        (("general", "when"), 15),
        (("ticks:*",), 20),
        (("ticks:*", "conflate"), 17),
        (("ticks:*", "conflate", "rate"), 18),
        (("ticks:*", "presence"), 21),
        (("machines",), 25),
        (("machines", 0, "code"), 26),
        (("machines", 0, "tags", 0, "name"), 28),
        (("machines", 0, "tags", 1), 29),
        (("machines", 0, "tags", 1, "name"), 30),
        (("machines", 0, "more"), 31),
        (("machines", 0, "more", "x", "y"), 32),
        (("machines", 1), 33),
        (("machines", 1, "name"), 33),
        (("machines", 1, "code"), 34),
        (("machines", 2, "code"), 25),
    ],
)
def test_the_line_is_of_the_innermost_key_that_the_file_writes(keys: Keys, line: int) -> None:
    assert of(WRITTEN).line(*keys) == line


# -- any document ---------------------------------------------------------------------------------------------------

_WORDS = st.one_of(st.text("ab#=[]{}\"'\\.\n 가", max_size=4), st.sampled_from(["a", "b-1", "]", '"""', "'''"]))
_SCALARS = st.one_of(st.integers(0, 9), st.booleans(), _WORDS)
_TABLES: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.dictionaries(
        _WORDS, st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3), _TABLES, st.lists(_TABLES, min_size=1, max_size=3))
    )
)


class Document:
    """Writes a document as TOML in one of the many ways, and on which line it wrote each key."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], data: dict[str, Any]) -> None:
        self._draw = draw
        self._written: list[str] = []
        self.lines: dict[Keys, int] = {}
        self._table((), "", data)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._written)

    def _write(self, text: str) -> int:
        """The line where it begins."""
        if self._draw(st.integers(0, 3)) == 0:
            self._written.append(self._draw(st.sampled_from(["", "  \t", '# [x] = "', "#'''"])))
        begins = len(self._written) + 1
        self._written.extend(text.split("\n"))
        return begins

    def _table(self, path: Keys, name: str, data: dict[str, Any]) -> None:
        inner: list[tuple[str, Any]] = []
        for key, value in data.items():
            word = json.dumps(key, ensure_ascii=False) if not key.isascii() or not key.isalnum() else key
            as_tables = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
            if as_tables and self._draw(st.booleans()):
                inner.append((key, value))
            elif isinstance(value, dict) and value and self._draw(st.booleans()):
                for last, each in value.items():  # dotted keys
                    line = self._write(f"{word} . {json.dumps(last)} = {self._value(each)}")
                    self.lines.setdefault((*path, key), line)
                    self.lines[*path, key, last] = line
            elif isinstance(value, list) and self._draw(st.booleans()):
                self._array((*path, key), word, value)
            else:
                self.lines[*path, key] = self._write(f"{word} = {self._value(value)} # ]")
        for key, value in inner:
            full = f"{name}.{json.dumps(key)}" if name else json.dumps(key)
            if isinstance(value, dict):
                self.lines[*path, key] = self._write(f"[{full}]")
                self._table((*path, key), full, value)
            for index, each in enumerate(value if isinstance(value, list) else ()):
                line = self._write(f" [[ {full} ]]")
                self.lines.setdefault((*path, key), line)
                self.lines[*path, key, index] = line
                self._table((*path, key, index), full, each)

    def _array(self, path: Keys, word: str, items: list[Any]) -> None:
        self.lines[path] = self._write(f"{word}=[")
        for index, each in enumerate(items):
            self.lines[*path, index] = self._write(f"{self._value(each)},")
        self._write("]")

    def _value(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {self._value(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self._value(each) for each in value) + "]"
        if isinstance(value, str):
            return self._text(value)
        return json.dumps(value)

    def _text(self, text: str) -> str:
        ways = [json.dumps(text, ensure_ascii=False)]
        if '"""' not in text and "\\" not in text:
            ways.append(f'"""{text if not text.startswith(chr(10)) else chr(10) + text}"""')
        if "'" not in text and "\n" not in text:
            ways.append(f"'{text}'")
        if "'''" not in text and not text.startswith("\n"):
            ways.append(f"'''{text}'''")
        return str(self._draw(st.sampled_from(ways)))


@given(st.data(), _TABLES)
def test_every_key_is_found_where_it_was_written(data: st.DataObject, tables: dict[str, Any]) -> None:
    document = Document(data.draw, tables)
    file = of(document.text)
    assert file.data == tables
    assert {keys: file.line(*keys) for keys in document.lines} == document.lines


# -- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"a = 1\n[b", ":2: not TOML: Expected ']' at the end of a table declaration, and there the file ends"),
        (b"a = 1\nb = = 2\n", ":2: not TOML: Invalid value (column 5)"),
        (b"a = 1\na = 2\n", ":2: not TOML: Cannot overwrite a value (column 6)"),
        (b"[a]\n[b]\n[a]\n", ":3: not TOML: Cannot declare ('a',) twice (column 3)"),
        (b"a = 1\nb = '\xff'\n", ":2: not UTF-8"),
        (b"a = " + b"[" * 100_000, ": nested too deeply"),
        (b"#" * (MAX_BYTES + 1), ": more than 1000000 bytes"),
    ],
)
def test_what_is_not_toml_says_where(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as fault:
        config_file.read(path)
    assert str(fault.value) == f"{path}{told}"


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.toml: there is no such file"):
        config_file.read(tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        config_file.read(tmp_path)


def test_an_editors_way_of_writing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes("\ufeff# x\r\n[가]\r\nb = 1\r\n".encode())
    with pytest.raises(ConfigError, match=":2:"):  # a bare key is of ASCII
        config_file.read(path)
    path.write_bytes("\ufeff# x\r\n['가']\r\nb = 1\r\n".encode())
    file = config_file.read(path)
    assert (file.data, file.line("가", "b")) == ({"가": {"b": 1}}, 3)
    assert file.fault("Wrong.", "가", "c") == f"{path}:2: Wrong."


def test_messages_are_told_with_the_keys_that_lead_to_them() -> None:
    messages = {"a": {0: ["x", "y"], "b": {"_schema": ["z"]}}, "_schema": "w"}
    assert list(config_file.faults(messages, "top")) == [
        (("top", "a", 0), "x"),
        (("top", "a", 0), "y"),
        (("top", "a", "b"), "z"),
        (("top",), "w"),
    ]
