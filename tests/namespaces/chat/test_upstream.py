from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import pytest

from server.errors import HandlerTimeout
from server.namespaces.chat import upstream as module
from server.namespaces.chat.agents.backend import Question, Verdict
from server.namespaces.chat.upstream import Upstream
from tests.support.client import PATIENCE

Parts = AsyncGenerator[str | Verdict, None]


class Saying:
    """A backend made of one generator; `closed` when that has ended, however."""

    def __init__(self, answer: Callable[[], Parts]) -> None:
        self._answer = answer
        self.closed = asyncio.Event()

    async def answer(self, question: Question) -> Parts:
        parts = self._answer()
        try:
            async for part in parts:
                yield part
        finally:
            await parts.aclose()
            self.closed.set()


def upstream(answer: Callable[[], Parts] | Saying, *, patience: float = PATIENCE) -> Upstream:
    backend = answer if isinstance(answer, Saying) else Saying(answer)
    return Upstream(backend, Question("s1", "alice", "?"), patience=patience)


async def whole(upstream: Upstream) -> str:
    taken = []
    async with asyncio.timeout(PATIENCE), upstream:
        while await upstream.more():
            taken.append(upstream.chunks.take(1000))
    return "".join(taken)


# -- what goes wrong ------------------------------------------------------------------------------------------------


async def test_one_that_dies_is_known_at_once() -> None:
    async def dying() -> Parts:
        yield "some text"
        raise ConnectionError("the model is gone")

    async with upstream(dying) as dead:
        await asyncio.wait([dead._reader])
        with pytest.raises(ConnectionError):
            await dead.more()
        assert dead.chunks


async def test_one_that_is_silent_for_too_long() -> None:
    async def stuck() -> Parts:
        yield "some text"
        await asyncio.Event().wait()

    backend = Saying(stuck)
    with pytest.raises(HandlerTimeout, match="agent"):
        await whole(upstream(backend, patience=0.01))
    assert backend.closed.is_set()


async def test_one_that_runs_into_a_timeout_of_its_own() -> None:
    async def slow() -> Parts:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        yield "never"

    with pytest.raises(HandlerTimeout):
        await whole(upstream(slow))


async def test_one_that_trickles_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickling() -> Parts:
        while True:
            yield "x"
            await asyncio.sleep(0.001)

    monkeypatch.setattr(module, "MAX_ANSWER_SECONDS", 0.05)
    with pytest.raises(HandlerTimeout):
        await whole(upstream(trickling))


async def test_one_that_says_nothing_for_ever_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def empty() -> Parts:
        while True:
            yield ""

    monkeypatch.setattr(module, "MAX_ANSWER_SECONDS", 0.05)
    with pytest.raises(HandlerTimeout):
        await whole(upstream(empty))


async def test_one_that_says_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> Parts:
        yield Verdict(intent="INFO_REQ")
        while True:
            yield "0123456789"

    monkeypatch.setattr(module, "MAX_ANSWER_CHARS", 25)
    backend = Saying(endless)
    talkative = upstream(backend)
    assert await whole(talkative) == "0123456789012345678901234"
    assert talkative.verdict.intent == "INFO_REQ"
    assert backend.closed.is_set()


async def test_one_that_cancels_itself_gave_no_answer() -> None:
    async def cancelled() -> Parts:
        yield "half of"
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled"):
        await whole(upstream(cancelled))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_one_that_is_no_generator() -> None:
    class Wrong:
        async def answer(self, question: Question) -> str:
            return "an answer"

    with pytest.raises(AttributeError):
        await whole(Upstream(Wrong(), Question("s1", "alice", "?"), patience=1))  # type: ignore[arg-type]


async def test_one_that_gives_what_is_no_text() -> None:
    async def numbers() -> Parts:
        yield 42  # type: ignore[misc]

    with pytest.raises(AttributeError):
        await whole(upstream(numbers))


async def test_leaving_closes_it() -> None:
    async def stuck() -> Parts:
        yield "some text"
        await asyncio.Event().wait()

    backend = Saying(stuck)
    async with upstream(backend) as left:
        assert await left.more()
    assert backend.closed.is_set()


async def test_leaving_does_not_wait_for_one_that_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    free = asyncio.Event()

    async def stubborn() -> Parts:
        yield "some text"
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    async with asyncio.timeout(PATIENCE), upstream(stubborn) as left:
        assert await left.more()
    assert not left._reader.done()
    free.set()
    await asyncio.wait([left._reader])


# -- what goes well -------------------------------------------------------------------------------------------------


async def test_it_is_read_before_it_is_taken() -> None:
    said = asyncio.Event()

    async def well() -> Parts:
        yield "대출 금리는 "
        yield Verdict(tokens_used=1)
        yield "연 3.5%\0"
        yield Verdict(tokens_used=7)
        said.set()

    read = upstream(well)
    async with asyncio.timeout(PATIENCE), read:
        await said.wait()
        assert await read.more()
        assert len(read.chunks) == 13
    assert await whole(upstream(well)) == "대출 금리는 연 3.5%"
    assert read.verdict == Verdict(tokens_used=7)


async def test_one_that_waits_for_nothing_leaves_turns_to_others() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def fast() -> Parts:
        for _ in range(5000):
            yield "x"

    counting = asyncio.create_task(count())
    await whole(upstream(fast))
    counting.cancel()
    assert turns >= 40
