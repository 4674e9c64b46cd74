"""The beginning and the end of an encoded event, which is all that is kept of it: its name, number and offset are read
from them when somebody asks."""

from __future__ import annotations

import re

HEAD_CHARS, TAIL_CHARS = 300, 60

_NAME = re.compile(r'[0-9]*(?:/[^,]*,)?[0-9]*\["((?:[^"\\]|\\.)*)"')
_SEQ = re.compile(r'"seq":([0-9]{1,16})[,}]')  # in a text that somebody wrote, its quotes are escaped
_OFFSET = re.compile(r',"([0-9]{1,16}(?:-[0-9a-f]{10}-[0-9]{1,16})?)"\]$')


def name_of(head: str) -> str:
    found = _NAME.match(head)
    return found[1] if found is not None else ""


def seq_of(head: str) -> int | None:
    """Of an event that is numbered within its room."""
    found = _SEQ.search(head)
    return int(found[1]) if found is not None else None


def offset_of(tail: str) -> str | None:
    """What a client that can come back took for its position."""
    found = _OFFSET.search(tail)
    return found[1] if found is not None else None
