"""Who comes back to another node with what is not its own, or too late, is somebody new."""

from __future__ import annotations

from typing import Any

import pytest

from server.realtime import recovery
from server.realtime.cluster.feed import position
from server.realtime.rooms import room_name
from tests.support.echo import EchoNamespace
from tests.support.managers import Cluster, back, emit, gone, left, manager_of, node_of, reader
from tests.support.running import Running

OTHER = room_name(None, "numbered", "2")


async def fresh(server: Running, sub: str = "alice", **known: Any) -> None:
    """Who comes so is somebody new, who hears what is new."""
    async with reader(server, sub, **known) as found:
        assert not found.recovered
        assert found.heard == []
        assert found.known["pid"] != known.get("pid")
        await found.enter(1)
        emit(server, 1)
        assert await found.until(1) == [1]


async def test_another_users_session(settled: None, servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    emit(servers[0], 7)
    await fresh(servers[1], "mallory", **first.known)
    async with reader(servers[0], "bob") as bob:
        await fresh(servers[1], "mallory", **bob.known)
        emit(servers[1], 8, room=bob.id)
        assert await bob.until(8) == [8], "nobody had it tested"
    async with back(servers[1], first) as again:
        assert again.recovered


@pytest.mark.parametrize(
    "offset",
    [
        "garbage",
        "1",
        "-1",
        "9" * 16,
        f"{'9' * 16}-{'a' * 10}-1",
        f"1-{'A' * 10}-1",
        f"1-{'a' * 10}-{'9' * 17}",
        1,
        ["x"],
        {"$gt": ""},
        True,
    ],
)
async def test_an_offset_that_nobody_gave_out(servers: list[Running], offset: object) -> None:
    first = await left(servers[0], 1)
    emit(servers[0], 7)
    await manager_of(servers[0]).flushed()
    await fresh(servers[1], pid=first.known["pid"], offset=offset)


@pytest.mark.parametrize("pid", ["unknown", "", "x" * 65, "x" * 10_000, "a:b", "*", 5, None, ["x"]])
async def test_a_pid_that_nobody_gave_out(servers: list[Running], pid: object) -> None:
    first = await left(servers[0], 1)
    await fresh(servers[1], pid=pid, offset=first.known["offset"])


async def test_a_forged_count_hides_only_from_who_forged_it(servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    emit(servers[0], 1)
    await manager_of(servers[0]).flushed()
    seen = position(first.known["offset"])
    assert seen is not None
    forged = f"{seen.offset}-{seen.node}-{'9' * 16}"
    async with reader(servers[0], "bob") as bob:
        await bob.enter(1)
        async with reader(servers[1], pid=first.known["pid"], offset=forged) as again:
            assert again.heard == []
            emit(servers[0], 2)
            emit(servers[1], 3)
            await again.until(3)
            await bob.until(2)
            await bob.until(3)


async def test_another_namespaces_session(servers: list[Running], cluster: Cluster) -> None:
    other = EchoNamespace()
    other.path = "/other"
    servers[1].realtime.add(other)
    first = await left(servers[0], 1)
    async with reader(servers[1], namespace="/other", **first.known) as found:
        assert not found.recovered


async def test_who_said_goodbye_and_who_was_sent_away(servers: list[Running]) -> None:
    async with reader(servers[0]) as first:
        await first.raw.send("41/echo,")
        await gone(servers[0], first.id)
    await fresh(servers[1], **first.known)
    async with reader(servers[0]) as first:
        await servers[0].realtime.disconnect(first.id, namespace="/echo")
        await first.raw.expect("41/echo,")
    await fresh(servers[1], **first.known)


async def test_who_comes_too_late(cluster: Cluster) -> None:
    """Redis's clock decides; its lifetime is what is looked at, and then made to pass."""
    servers = [await cluster.add(recovery=recovery.Bounds(seconds=30, retention=50)) for _ in range(2)]
    keys = node_of(servers[0]).keys
    async with reader(servers[0]) as first, cluster.redis() as redis:
        session = keys.session("/echo", first.known["pid"])
        held = await redis.pttl(session)
        assert 50_000 < held <= 100_000, "its node keeps it fresh"
    await gone(servers[0], first.id)
    await node_of(servers[0]).call("PING")  # behind what it said of it
    async with cluster.redis() as redis:
        assert 20_000 < await redis.pttl(session) <= 30_000
        await redis.pexpire(session, -1)
    await fresh(servers[1], **first.known)


@pytest.mark.parametrize(("count", "whole"), [(10, True), (30, False)])
async def test_who_missed_more_than_is_logged(cluster: Cluster, count: int, whole: bool) -> None:
    servers = [await cluster.add(recovery=recovery.Bounds(messages=20)) for _ in range(2)]
    first = await left(servers[0], 1)
    emit(servers[0], *range(count))
    await manager_of(servers[0]).flushed()
    async with back(servers[1], first) as again:
        assert again.recovered is whole
        assert again.heard == (list(range(count)) if whole else [])
        emit(servers[0], 100, room=again.id)
        assert (await again.until(100))[-1] == 100


async def test_a_cut_of_one_room_is_nothing_to_who_was_not_in_it(cluster: Cluster) -> None:
    servers = [await cluster.add(recovery=recovery.Bounds(messages=20)) for _ in range(2)]
    first = await left(servers[0], 2)
    emit(servers[0], *range(50))
    emit(servers[0], 50, room=OTHER)
    await manager_of(servers[0]).flushed()
    async with back(servers[1], first) as again:
        assert again.recovered
        assert again.heard == [50]


async def test_nobody_resumes_where_sessions_are_not_kept(cluster: Cluster) -> None:
    servers = [await cluster.add(recovery=None) for _ in range(2)]
    async with reader(servers[0]) as first:
        assert first.known["pid"] is None
        await first.enter(1)
        emit(servers[1], 1)
        assert await first.until(1) == [1]
    async with reader(servers[1], pid="x", offset=f"1-{'a' * 10}-1") as again:
        assert not again.recovered
