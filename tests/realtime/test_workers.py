from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from server.realtime.tasks import Tasks
from server.realtime.workers import MAX_WAITING, WORKS_A_TURN, Inbox, Workers
from tests.support.client import PATIENCE


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    tasks = Tasks()
    yield Workers(tasks)
    await tasks.close()


class Line:
    """One inbox whose work is done when told."""

    def __init__(self, workers: Workers, timeout: float | None = None) -> None:
        self.inbox = Inbox(workers, timeout)
        self.done: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.started: asyncio.Queue[int] = asyncio.Queue()

    def put(self, number: int) -> Awaitable[None] | None:
        self.gates[number] = asyncio.Event()

        async def work() -> None:
            self.started.put_nowait(number)
            await self.gates[number].wait()
            self.done.append(number)

        return self.inbox.put(work)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_at_a_time_in_order(workers: Workers) -> None:
    line = Line(workers)
    for number in range(3):
        assert line.put(number) is None
    line.gates[1].set()
    line.gates[2].set()
    assert await line.started.get() == 0
    await settle()
    assert (line.started.empty(), line.done, line.inbox.busy) == (True, [], True)
    line.gates[0].set()
    await settle()
    assert (line.done, line.inbox.busy) == ([0, 1, 2], False)


async def test_who_waits_holds_up_nobody_else(workers: Workers) -> None:
    lines = [Line(workers) for _ in range(20)]
    for line in lines:
        line.put(0)
    for line in lines:
        assert await line.started.get() == 0
    for line in reversed(lines):
        line.gates[0].set()
        await settle()
        assert line.done == [0]


async def test_one_task_serves_all_that_do_not_wait(workers: Workers) -> None:
    tasks: set[asyncio.Task[object] | None] = set()

    async def work() -> None:
        tasks.add(asyncio.current_task())

    for _ in range(3):
        for _ in range(WORKS_A_TURN - 1):
            Inbox(workers).put(work)
        await settle()
    assert len(tasks) == 1


async def test_a_full_inbox_makes_its_reader_wait(workers: Workers) -> None:
    line = Line(workers)
    waits = [line.put(number) for number in range(MAX_WAITING + 1)]
    assert waits[: MAX_WAITING - 1] == [None] * (MAX_WAITING - 1)
    last = waits[-1]
    assert last is not None
    waiting = asyncio.ensure_future(last)
    await settle()
    assert line.done == []
    for gate in line.gates.values():
        gate.set()
    await waiting


async def test_a_closed_inbox_takes_its_last_work_and_nothing_after(workers: Workers) -> None:
    line = Line(workers)
    line.put(0)
    last = asyncio.Event()

    async def leave() -> None:
        assert line.done == [0]
        last.set()

    line.inbox.close(leave)
    line.put(1)
    line.gates[0].set()
    await last.wait()
    await settle()
    assert line.started.qsize() == 1


async def test_a_deadline_ends_the_work_and_not_the_worker(workers: Workers) -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not workers.timed_out():
                raise
            ended.append("timed out")

    async def next_one() -> None:
        ended.append("next")

    inbox = Inbox(workers, timeout=0.01)
    inbox.put(slow)
    inbox.put(slow)
    inbox.put(next_one)
    async with asyncio.timeout(5):
        while len(ended) < 3:  # noqa: ASYNC110 - a deadline has no event of its own
            await asyncio.sleep(0.001)
    assert ended == ["timed out", "timed out", "next"]


async def test_work_that_keeps_its_cancellation_to_itself_does_not_hurt_the_next(workers: Workers) -> None:
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("stubborn")

    async def waits() -> None:
        await asyncio.sleep(0)
        ended.append("next")

    inbox = Inbox(workers, timeout=0.01)
    inbox.put(stubborn)
    inbox.put(waits)
    async with asyncio.timeout(5):
        while len(ended) < 2:  # noqa: ASYNC110 - a deadline has no event of its own
            await asyncio.sleep(0.001)


async def test_work_that_raises_is_the_last_of_nothing(workers: Workers) -> None:
    line = Line(workers)

    async def boom() -> None:
        raise RuntimeError

    line.inbox.put(boom)
    line.put(1)
    assert await line.started.get() == 1


async def test_idle_workers_are_few(workers: Workers) -> None:
    lines = [Line(workers) for _ in range(50)]
    for line in lines:
        line.put(0)
    await settle()
    for line in lines:
        line.gates[0].set()
    await settle()
    assert len(workers._workers) <= 8


async def test_work_that_turns_its_cancellation_into_an_error_still_ends_its_worker() -> None:
    tasks = Tasks()
    inbox = Inbox(Workers(tasks), 10)
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    inbox.put(work)
    await begun.wait()
    async with asyncio.timeout(PATIENCE):
        await tasks.close()
