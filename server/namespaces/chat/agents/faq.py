"""The embedded backend: finds the answer in a knowledge base, or says that it does not know. It makes nothing up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat.agents import knowledge
from server.namespaces.chat.agents.backend import HANDOVER, UNKNOWN, Question, Verdict
from server.namespaces.chat.agents.knowledge import Entry
from server.namespaces.chat.agents.lookup import Lookup
from server.namespaces.chat.agents.ranking import is_korean

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
        self._lookup = Lookup(entries)

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        found = self._lookup.find(question.text, question.history)
        if not found:
            reply = DONT_KNOW_KOREAN if is_korean(question.text) else DONT_KNOW
            yield reply
            yield Verdict(UNKNOWN, HANDOVER, tokens_used=_tokens(reply))
            return
        best = found[0].entry
        yield best.text
        yield Verdict(best.intent, best.action, [each.to_wire() for each in found], _tokens(best.text))


def _tokens(text: str) -> int:
    """No model counts tokens here; words are what comes nearest."""
    return len(text.split())
