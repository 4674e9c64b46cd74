"""Backends that behave badly on purpose; `config/agents.toml` of a test names them by their dotted path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from server.namespaces.chat.agents.backend import Question, Verdict


class Echo:
    """Says what it was asked, in the pieces that `|` makes of it."""

    def __init__(self, config: Path = Path(), options: Mapping[str, object] | None = None) -> None:
        self.options = options or {}

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


class Held(Echo):
    closed = 0

    async def close(self) -> None:
        self.closed += 1


class Unwilling(Echo):
    async def close(self) -> None:
        raise ConnectionError("the model is gone")


class Endless(Echo):
    async def close(self) -> None:
        await asyncio.Event().wait()


class Faulty(Echo):
    """Cannot be made without an option that is not there."""

    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        super().__init__(config, options)
        self.tone = options["tone"]


class Plain:
    """Its author forgot to yield."""

    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        pass

    async def answer(self, question: Question) -> str:
        return question.text


class Wordless:
    def __init__(self, config: Path, options: Mapping[str, object]) -> None:
        pass


MAX = 5
