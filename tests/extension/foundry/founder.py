"""The agent: answers with what it knows, in pieces, and ends with what it thinks of the question."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from server.extensions import Question, Verdict

from .melting_point import CELSIUS


class Founder:
    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        self._greeting = str(options["greeting"])

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        yield self._greeting
        for metal, celsius in CELSIUS.items():
            if metal in question.text.lower():
                yield f" {metal.title()} melts at {celsius} °C."
        yield Verdict(intent="INFO_REQ")
