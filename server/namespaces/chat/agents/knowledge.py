"""The knowledge base: Markdown files whose second-level headings are questions and whose text below is the answer.

A comment under a heading says what the ranking and the verdict need to know:
`<!-- keywords: 이자, APR; intent: INFO_REQ; action: CONTINUE -->`. It ranks nothing itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat.agents.backend import CONTINUE, HANDOVER, INFO_REQ

_HEADING = re.compile(r"^## +(.+?)\s*$", re.MULTILINE)
_COMMENT = re.compile(r"\A\s*<!--(.*?)-->", re.DOTALL)
_OPTIONS = frozenset({"keywords", "intent", "action"})


@dataclass(frozen=True, slots=True)
class Entry:
    document: str
    title: str
    text: str
    keywords: str
    intent: str
    action: str


def load(folder: Path) -> list[Entry]:
    """Raises ConfigError."""
    entries = [entry for path in sorted(folder.glob("*.md")) for entry in _entries(path)]
    if not entries:
        raise ConfigError(f"{folder}: no Markdown file with a second-level heading in it")
    return entries


def _entries(path: Path) -> list[Entry]:
    try:
        _, *parts = _HEADING.split(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return [_entry(path, title, body) for title, body in zip(parts[::2], parts[1::2], strict=True)]


def _entry(path: Path, title: str, body: str) -> Entry:
    comment = _COMMENT.match(body)
    options: dict[str, str] = {}
    if comment is not None:
        body = body[comment.end() :]
        for part in comment[1].split(";"):
            name, colon, value = part.partition(":")
            if not colon or name.strip() not in _OPTIONS:
                raise ConfigError(f"{path}: {title!r}: {part.strip()!r} is none of {', '.join(sorted(_OPTIONS))}")
            options[name.strip()] = value.strip()
    text = body.strip()
    if not text:
        raise ConfigError(f"{path}: {title!r} has no text")
    action = options.get("action", CONTINUE)
    if action not in (CONTINUE, HANDOVER):
        raise ConfigError(f"{path}: {title!r}: action {action!r} is neither {CONTINUE} nor {HANDOVER}")
    return Entry(path.name, title, text, options.get("keywords", ""), options.get("intent", INFO_REQ), action)
