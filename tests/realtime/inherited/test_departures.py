"""PYTHON-SOCKETIO.md §4: who goes costs what they held themselves, and ten thousand at once do not stop the loop."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvloop

import server as package
from server.realtime.engine import server as engine
from server.realtime.server import Bounds
from tests.realtime.inherited.wire import leaving_nothing, wire
from tests.support.client import PATIENCE
from tests.support.echo import serving
from tests.support.process import running

SERVER = str(Path(package.__file__).parent)
CROWDED = Bounds(max_connections=20_000)


class Work:
    def __init__(self) -> None:
        self.lines = 0


@contextmanager
def counted() -> Iterator[Work]:
    """The lines of `server` that run meanwhile; a loop over N takes N of them at the least."""
    work = Work()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(SERVER):
            return None
        if event == "line":
            work.lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield work
    finally:
        sys.settrace(before)


async def lines_to_see_one_off(clients: int, leave: str) -> int:
    async with serving(bounds=CROWDED) as (server, namespace), AsyncExitStack() as stack:
        for number in range(clients):
            await (await stack.enter_async_context(wire(server.url))).join(f"user-{number}")
        async with wire(server.url) as one:
            await one.join("leaver")
            [leaver] = [each for each in namespace.connections if each.user_id == "leaver"]
            namespace.gone_event.clear()
            with counted() as work:
                assert server.realtime.rooms(leaver.id, namespace="/echo")
                if leave == "abort":
                    one.abort()
                else:
                    await one.send("41/echo,")
                await namespace.gone_event.wait()
            assert len(namespace.connections) == clients
        return work.lines


@pytest.mark.parametrize("leave", ["abort", "disconnect"])
async def test_a_disconnect_costs_the_same_whoever_else_is_there(leave: str) -> None:
    few, many = await lines_to_see_one_off(2, leave), await lines_to_see_one_off(300, leave)
    assert few > 20  # it did look
    assert many < few + 100


async def test_clients_that_go_at_once_are_seen_off_over_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hardly any time for it in each turn of the loop, others have theirs after every few."""
    monkeypatch.setattr(engine, "LOST_A_TURN_SECONDS", 1e-6)
    async with serving(bounds=CROWDED) as (server, namespace), AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wire(server.url)) for _ in range(200)]
        for number, one in enumerate(wires):
            await one.join(f"user-{number}")
        for one in wires:
            one.abort()
        left = [len(wires)]
        async with asyncio.timeout(PATIENCE):
            while left[-1]:
                await asyncio.sleep(0)
                left.append(len(namespace.connections))
        assert max(before - after for before, after in itertools.pairwise(left)) <= 4


@pytest.mark.e2e
def test_ten_thousand_clients_that_are_killed_leave_nothing() -> None:
    """On the loop that production has."""
    uvloop.run(kill_a_crowd())


async def kill_a_crowd() -> None:
    """How long it keeps the loop is printed, in CPU time so that other work on the machine does not count."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(10_000, (limit - 500) // 100 * 100)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    async with serving(bounds=CROWDED) as (server, namespace), leaving_nothing(server):
        crowd = "tests.realtime.inherited.crowd"
        async with running(sys.executable, "-m", crowd, server.url, str(count)) as clients:
            await clients.read_until("joined")
            assert len(namespace.connections) == count
            watching = asyncio.create_task(watch())
            clients.signal(9)
            await clients.process.wait()
            async with asyncio.timeout(60):
                while server.realtime.eio.sessions or namespace.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            watching.cancel()
            await asyncio.wait([watching])
    print(f"{count} clients gone: the loop was kept for {longest * 1000:.0f} ms at the longest")  # noqa: T201
