"""What holds of a lease, on one node or on many."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.realtime.cluster.address import connector
from server.realtime.cluster.leases import ClusterLease
from server.realtime.cluster.node import Node
from server.realtime.leases import Lease, SoleLease
from tests.support.redis import RedisServer


@pytest_asyncio.fixture(params=["sole", "cluster"])
async def lease(request: pytest.FixtureRequest) -> AsyncIterator[Lease]:
    if request.param == "sole":
        yield SoleLease()
        return
    async with RedisServer() as redis:
        node = Node(connector(redis.url), secrets.token_hex(4))
        await node.start()
        yield ClusterLease(node, "work", seconds=1)
        await node.stop()


async def test_work_is_done_while_it_is_held_and_ends_with_it(lease: Lease) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    held: list[tuple[bool, bool]] = []

    async def work() -> None:
        held.append((lease.held, lease.fence > 0))
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    holding = asyncio.create_task(lease.hold(work))
    async with asyncio.timeout(10):
        await begun.wait()
    lease.tell({"nobody": "listens"})
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert ended.is_set()
    assert held == [(True, True)]


async def test_work_that_fails_says_so(lease: Lease) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await lease.hold(work)
