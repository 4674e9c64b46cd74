from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
import pytest_asyncio

from server.realtime import entrance
from tests.support import echo, managers
from tests.support.managers import Cluster, Serving
from tests.support.redis import RedisServer
from tests.support.running import Running

#: A node alone, whose manager is in memory, and one among many: what asks for `redis_url` runs on both.
KINDS = ("memory", "redis")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for all tests that neither stop nor empty it: each has names of its own."""
    server = RedisServer()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(server.__aenter__())
        yield server
        runner.run(server.__aexit__())


@pytest.fixture(params=KINDS)
def redis_url(request: pytest.FixtureRequest) -> str | None:
    """None: no Redis."""
    if request.param == "memory":
        return None
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def serving(redis_url: str | None) -> Serving:
    return echo.serving if redis_url is None else partial(managers.serving, redis_url)


@pytest_asyncio.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[Cluster]:
    cluster = Cluster(redis_server.url)
    yield cluster
    await cluster.close()


@pytest_asyncio.fixture
async def servers(cluster: Cluster) -> list[Running]:
    """Three nodes."""
    return [await cluster.add() for _ in range(3)]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is connected has been for a while; who does not answer is not waited for."""
    monkeypatch.setattr(entrance, "SETTLED_SECONDS", -1e12)
    monkeypatch.setattr(entrance, "ANSWER_SECONDS", 0.05)
