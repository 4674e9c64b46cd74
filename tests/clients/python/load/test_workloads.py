from __future__ import annotations

import time

import pytest

from clients.python.load.results import Results
from clients.python.load.workloads import WHAT, make
from tests.clients.python.opening import client
from tests.conftest import Serve


@pytest.mark.parametrize("what", [each for each in WHAT if each != "monitor"])
async def test_what_each_measures(serve: Serve, what: str) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    results = Results(what, 1, 1.0)
    async with client(server.url) as opened:
        part = make(what, results)()
        assert part.sends
        await part.prepare(opened, 0)
        for _ in range(3):
            await part.once(time.perf_counter() - 0.5)
    assert results.acks.count == 3
    assert results.acks.longest > 0.5, "from when it was due"
    assert results.deliveries.count == (3 if what in ("chat", "trading") else 0)


async def test_a_monitor_listens(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    results = Results("monitor", 1, 1.0)
    async with client(server.url) as opened:
        part = make("monitor", results)()
        assert not part.sends
        await part.prepare(opened, 0)
        statuses = await opened.monitor()
        for _ in range(3):
            await anext(statuses)
    assert results.deliveries.count >= 3
