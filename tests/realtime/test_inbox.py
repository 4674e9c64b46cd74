from __future__ import annotations

import asyncio

from server.realtime.inbox import Inbox
from server.realtime.tasks import Tasks


class Line:
    """Work that is done one by one, when told."""

    def __init__(self, max_waiting: int = 4) -> None:
        self.tasks = Tasks()
        self.inbox = Inbox(lambda drain: self.tasks.start(drain, "inbox"), max_waiting)
        self.done: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.started: asyncio.Queue[int] = asyncio.Queue()

    async def put(self, number: int) -> None:
        self.gates[number] = asyncio.Event()

        async def work() -> None:
            self.started.put_nowait(number)
            await self.gates[number].wait()
            self.done.append(number)

        await self.inbox.put(work)

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while len(self.tasks):  # noqa: ASYNC110 - the end of a task has no event of its own
                await asyncio.sleep(0)


async def test_one_at_a_time_in_order() -> None:
    line = Line()
    for number in range(3):
        await line.put(number)
    line.gates[1].set()
    line.gates[2].set()
    assert await line.started.get() == 0
    assert line.started.empty()
    assert line.done == []
    line.gates[0].set()
    assert [await line.started.get(), await line.started.get()] == [1, 2]
    await asyncio.sleep(0)
    assert line.done == [0, 1, 2]


async def test_a_full_inbox_makes_its_reader_wait() -> None:
    line = Line(max_waiting=2)
    await line.put(0)
    assert await line.started.get() == 0
    await line.put(1)
    await line.put(2)
    blocked = asyncio.create_task(line.put(3))
    await asyncio.sleep(0)
    assert not blocked.done()
    line.gates[0].set()
    await blocked
    for number in (1, 2, 3):
        line.gates[number].set()
    assert [await line.started.get() for _ in range(3)] == [1, 2, 3]


async def test_no_task_is_left_when_there_is_no_work() -> None:
    line = Line()
    for number in range(2):
        await line.put(number)
        line.gates[number].set()
        await line.started.get()
        await line.idle()
    assert line.done == [0, 1]


async def test_what_waits_for_space_when_it_closes_is_dropped_and_does_not_wait_for_ever() -> None:
    line = Line(max_waiting=1)
    await line.put(0)
    assert await line.started.get() == 0
    await line.put(1)
    blocked = asyncio.create_task(line.put(2))
    await asyncio.sleep(0)
    ended: list[list[int]] = []

    async def last() -> None:
        ended.append(list(line.done))

    line.inbox.close(last)
    await blocked
    await line.put(3)
    for number in (0, 1):
        line.gates[number].set()
    await line.idle()
    assert (line.done, ended) == ([0, 1], [[0, 1]])
