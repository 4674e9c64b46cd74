"""What a knowledge base has on a question, best first; and nothing when it has nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.namespaces.chat.agents.backend import Turn
from server.namespaces.chat.agents.knowledge import Entry
from server.namespaces.chat.agents.ranking import Ranking, terms, words

MIN_COVERAGE = 0.4  # of a question's weight: below it, what matches is more likely chance
MAX_FOUND = 3
MAX_QUESTION_CHARS = 2_000  # more than this is not a question; ranking runs on the loop
TITLE_WEIGHT = 3
FOLLOW_UP_WORDS = 2  # so few may lean on the question before: "and the limit?"
FOLLOW_UP_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    entry: Entry
    score: float

    def to_wire(self) -> dict[str, object]:
        """One of a verdict's `source_documents`."""
        return {"document": self.entry.document, "title": self.entry.title, "score": round(self.score, 3)}


class Lookup:
    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._ranking = Ranking([_terms(entry) for entry in entries])

    def find(self, text: str, history: Sequence[Turn] = ()) -> list[Found]:
        """`history` decides between what a very short question finds."""
        query = words(text[:MAX_QUESTION_CHARS])
        scores = {hit.index: hit.score for hit in self._ranking.search(query) if hit.coverage >= MIN_COVERAGE}
        if len(scores) > 1 and len(query) <= FOLLOW_UP_WORDS:
            for hit in self._ranking.search(words(_last_question(history)[:MAX_QUESTION_CHARS])):
                if hit.index in scores:
                    scores[hit.index] += FOLLOW_UP_WEIGHT * hit.score
        best = sorted(scores, key=lambda index: -scores[index])
        return [Found(self._entries[index], scores[index]) for index in best[:MAX_FOUND]]


def _terms(entry: Entry) -> list[str]:
    return terms(f"{entry.title} {entry.keywords}") * TITLE_WEIGHT + terms(entry.text)


def _last_question(history: Sequence[Turn]) -> str:
    return next((turn.text for turn in reversed(history) if turn.role == "user"), "")
