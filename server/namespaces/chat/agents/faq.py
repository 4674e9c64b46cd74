"""The embedded backend: finds the answer in a knowledge base, or says that it does not know. It makes nothing up."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat.agents import knowledge
from server.namespaces.chat.agents.backend import HANDOVER, Question, Verdict
from server.namespaces.chat.agents.knowledge import Entry
from server.namespaces.chat.agents.ranking import Hit, Ranking, terms, words

UNKNOWN_INTENT = "UNKNOWN"
MIN_COVERAGE = 0.4  # of a question's weight: below it, what matches is more likely chance
MAX_SOURCES = 3
MAX_QUESTION_CHARS = 2_000  # more than this is not a question; ranking runs on the loop
TITLE_WEIGHT = 3

_HANGUL = re.compile(r"[가-힣]")
DONT_KNOW_KOREAN = "죄송합니다. 그 질문에 대한 답을 알지 못합니다. 상담원에게 연결해 드릴까요?"
DONT_KNOW = "I am sorry, I do not know the answer to that. Shall I connect you with a person?"


def build(config: Path, options: Mapping[str, object]) -> Faq:
    """Option `knowledge`: the folder, relative to `agents.toml`. Raises ConfigError."""
    unknown = set(options) - {"knowledge"}
    folder = options.get("knowledge", "knowledge")
    if unknown or not isinstance(folder, str):
        raise ConfigError(f'the faq backend takes one option, knowledge = "a folder", not {dict(options)}')
    return Faq(knowledge.load(config / folder))


class Faq:
    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._ranking = Ranking([_terms(entry) for entry in entries])

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        text = question.text[:MAX_QUESTION_CHARS]
        hits = [hit for hit in self._ranking.search(words(text)) if hit.coverage >= MIN_COVERAGE]
        if not hits:
            reply = DONT_KNOW_KOREAN if _HANGUL.search(text) else DONT_KNOW
            yield reply
            yield Verdict(UNKNOWN_INTENT, HANDOVER, tokens_used=_tokens(reply))
            return
        best = self._entries[hits[0].index]
        yield best.text
        yield Verdict(
            best.intent,
            best.action,
            [self._source(hit) for hit in hits[:MAX_SOURCES]],
            _tokens(best.text),
        )

    def _source(self, hit: Hit) -> Mapping[str, object]:
        entry = self._entries[hit.index]
        return {"document": entry.document, "title": entry.title, "score": round(hit.score, 3)}


def _terms(entry: Entry) -> list[str]:
    return terms(f"{entry.title} {entry.keywords}") * TITLE_WEIGHT + terms(entry.text)


def _tokens(text: str) -> int:
    """No model counts tokens here; words are what comes nearest."""
    return len(text.split())
