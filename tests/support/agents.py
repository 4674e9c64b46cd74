"""Backends that behave badly on purpose; `config/agents.toml` of a test names them by their dotted path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from server.namespaces.chat.agents.backend import Question, Verdict


class Echo:
    """Says what it was asked, in the pieces that `|` makes of it."""

    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        self.options = options

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        for piece in question.text.split("|"):
            yield piece
        yield Verdict(tokens_used=len(question.text))


class Dying(Echo):
    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        yield "0123456789 and then"
        raise ConnectionError("the model is gone")


class Mute(Echo):
    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        yield ""
        yield Verdict()


class Stuck(Echo):
    """Never gets further than its first piece; `closed` is set when it is told to stop."""

    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        super().__init__(config, options)
        self.closed = asyncio.Event()

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        try:
            yield "0123456789"
            await asyncio.Event().wait()
        finally:
            self.closed.set()
