"""A client that comes back while something else happens: to Redis, to its old node, or to who comes with it."""

from __future__ import annotations

import asyncio

import pytest

from server.realtime.cluster import node, wire
from server.realtime.cluster.feed import position
from tests.support.client import PATIENCE
from tests.support.managers import (
    ROOM,
    Cluster,
    Reader,
    back,
    emit,
    gone,
    left,
    manager_of,
    node_of,
    proxied,
    reader,
    until,
)
from tests.support.running import Running


def offset(client: Reader) -> int:
    found = position(client.known["offset"])
    assert found is not None
    return found.offset


async def test_one_that_waits_too_long_takes_no_other_with_it(
    servers: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both wait for the same subscription."""
    one, other = [await left(servers[0], 1, sub=sub) for sub in ("alice", "bob")]
    listener = node_of(servers[1]).listener
    confirm = listener._confirm
    late: list[str] = []
    monkeypatch.setattr(listener, "_confirm", lambda each: late.append(each) if each.endswith(ROOM) else confirm(each))

    async def come() -> None:
        async with reader(servers[1], "bob", **other.known) as again:
            assert again.recovered
            emit(servers[0], 1)
            assert await again.until(1) == [1]

    monkeypatch.setattr(node, "STALLED_SECONDS", 0.3)
    first = asyncio.create_task(_come_anew(servers[1], one))
    await until(lambda: bool(late))
    monkeypatch.setattr(node, "STALLED_SECONDS", PATIENCE)
    second = asyncio.create_task(come())
    await first
    monkeypatch.undo()
    for channel in late:
        confirm(channel)
    async with asyncio.timeout(PATIENCE):
        await second


async def _come_anew(server: Running, before: Reader) -> None:
    async with reader(server, **before.known) as again:
        assert not again.recovered


@pytest.mark.parametrize("same", [True, False], ids=["to the same node", "to another"])
async def test_who_was_lost_while_redis_was_away_is_back_when_it_is(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Nobody could tell Redis that it went."""
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)
    async with proxied(cluster.url) as (url, proxy):
        near, far = await cluster.add(), await cluster.add(url)
        async with reader(far) as alice:
            await alice.enter(1)
            proxy.refuse()
            await proxy.cut()
            await until(lambda: not node_of(far).listener.ready and not node_of(far).commands.ready)
        await gone(far, alice.id)
        emit(near, 1)
        await manager_of(near).flushed()
        emit(far, 2)
        await proxy.accept()
        await until(lambda: node_of(far).up)
        await manager_of(far).flushed()
        async with back(far if same else near, alice) as again:
            assert again.recovered
            assert again.heard == [1, 2]


async def test_who_drops_again_at_once_is_not_told_again(servers: list[Running]) -> None:
    """Nor by a node that has not heard of the room of late: nothing it says has an offset below what its client has."""
    quiet = node_of(servers[1])
    async with reader(servers[1], "bob"):
        await until(lambda: manager_of(servers[1])._feeds["/echo"].newest > 0)
        quiet.pulses.clear()
        async with reader(servers[0]) as first:
            await first.enter(1)
            emit(servers[2], 1)
            await first.until(1)
        await gone(servers[0], first.id)
        emit(servers[2], 2)
        await manager_of(servers[2]).flushed()
        async with back(servers[1], first) as second:
            assert second.heard == [2]
        assert offset(second) > offset(first)
        await gone(servers[1], second.id)
        async with back(servers[0], second) as third:
            assert third.recovered
            assert third.heard == []
        assert offset(third) >= offset(second)


async def test_a_node_that_drains_lets_go_at_once(servers: list[Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of who came a moment ago, too: a client that polls may have heard already that it has to go."""
    async with reader(servers[0]) as alice:
        await alice.enter(1)
        emit(servers[0], 1)
        await manager_of(servers[0]).flushed()
        async with reader(servers[1], **alice.known) as early:
            assert not early.recovered, "it is there"
        monkeypatch.setattr(servers[0].realtime, "draining", True)
        async with back(servers[1], alice) as again:
            assert again.recovered
            assert again.heard == [1]
            assert await alice.raw.closed() == 4009
