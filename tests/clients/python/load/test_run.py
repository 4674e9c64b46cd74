from __future__ import annotations

import asyncio

import pytest

from clients.python.errors import ClientError
from clients.python.load.results import Results
from clients.python.load.run import LoadTest
from tests.conftest import Serve
from tests.support.running import token


def load(url: str, results: Results, seconds: float = 1.0, credentials: str | None = None) -> LoadTest:
    return LoadTest(
        url,
        lambda number: credentials or token(f"load-{number}"),
        results,
        seconds=seconds,
        transports=("websocket",),
    )


async def test_at_the_rate_and_to_everybody(serve: Serve) -> None:
    server = await serve()
    results = Results("trading", 5, 40.0)
    test = load(server.url, results)
    await test.run()
    assert (results.connected, results.sent, results.late, dict(results.errors)) == (5, 40, 0, {})
    assert (results.acks.count, results.deliveries.count) == (40, 200)
    assert results.seconds == pytest.approx(1.0, abs=0.2)
    assert test.phase == "done"
    assert not len(server.realtime.manager), "all have left"


async def test_what_the_server_refuses_is_counted(serve: Serve) -> None:
    server = await serve(RATE_LIMIT_MESSAGES_PER_MINUTE=5, CHAT_DEFAULT_AGENT="")
    results = Results("chat", 1, 20.0)
    await load(server.url, results).run()
    assert (results.acks.count, results.errors["RATE_LIMITED"]) == (5, 15)


async def test_nobody_may_connect(serve: Serve) -> None:
    server = await serve()
    with pytest.raises(ClientError, match="TOKEN_INVALID"):
        await load(server.url, Results("ping", 3, 1.0), credentials="garbage").run()


async def test_cancelled_it_leaves_nobody(serve: Serve) -> None:
    server = await serve()
    results = Results("ping", 3, 100.0)
    running = asyncio.create_task(load(server.url, results, seconds=60.0).run())
    while results.acks.count < 10:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert not len(server.realtime.manager)
