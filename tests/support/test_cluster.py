from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.support.cluster import Nodes
from tests.support.process import answers
from tests.support.redis import RedisServer

pytestmark = pytest.mark.e2e


async def test_nodes_die_and_come_back_at_the_same_place(postgres_url: str, tmp_path: Path) -> None:
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=postgres_url, redis_urls=[redis.url, redis.url]) as nodes,
        aiohttp.ClientSession() as http,
    ):
        url = nodes.url(0)
        await nodes.kill(0)
        assert (nodes.runs(0), nodes.runs(1)) == (False, True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{url}/health")
        await answers(f"{nodes.url(1)}/health")
        await nodes.start(0)
        await nodes.ready()
        assert nodes.url(0) == url
        assert await nodes.terminate(1) == 0
        await nodes.start(1)
        await nodes.restart(1)
        await nodes.ready()


async def test_a_node_that_cannot_start_says_why(postgres_url: str, tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, database_url=postgres_url, redis_urls=["redis://localhost"], WS_MAX_ROOMS="1")
    with pytest.raises(RuntimeError, match="WS_MAX_ROOMS"):
        await nodes.start(0)
    await nodes.kill(0)
