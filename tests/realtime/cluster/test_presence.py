"""Presence across nodes that die, leave and lose Redis; what all do is in `tests/realtime/test_presence.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.present import DELAY, Member, Rig, cluster, connection, until


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with cluster() as rig:
        yield rig


async def two(rig: Rig) -> tuple[Member, Member]:
    first, second = await asyncio.gather(rig.member(), rig.member())
    return first, second


# -- nodes together -------------------------------------------------------------------------------------------------


async def test_a_user_on_two_nodes_is_one(rig: Rig) -> None:
    here, there = await two(rig)
    phone, laptop = connection("c1", "alice"), connection("c2", "alice")
    assert await here.presence.enter("r", phone) is not None
    assert await there.presence.enter("r", laptop) is None
    assert await here.presence.users("r") == await there.presence.users("r") == ["alice"]
    assert await here.presence.leave("r", phone) is None
    assert await there.presence.leave("r", laptop) is not None
    assert await here.presence.count("r") == await there.presence.count("r") == 0


async def test_of_twenty_at_once_one_comes_and_one_goes(rig: Rig) -> None:
    nodes = await two(rig)
    all_ = [(nodes[number % 2].presence, connection(f"c{number}", "alice")) for number in range(20)]
    came = await asyncio.gather(*[presence.enter("r", each) for presence, each in all_])
    assert sum(each is not None for each in came) == 1
    went = await asyncio.gather(*[presence.leave("r", each) for presence, each in all_])
    assert sum(each is not None for each in went) == 1


async def test_what_moved_is_not_taken_away_by_where_it_was(rig: Rig) -> None:
    """A session that is resumed keeps its connection's id."""
    here, there = await two(rig)
    alice = connection("c1", "alice")
    await here.presence.enter("r", alice)
    await here.presence.drop(alice)
    assert await there.presence.enter("r", alice) is None
    await here.settle(DELAY)
    assert (await here.presence.users("r"), rig.told) == (["alice"], [])
    await there.presence.drop(alice)
    await there.settle(DELAY)
    assert rig.told == [("r", "alice", False)]


# -- nodes go -------------------------------------------------------------------------------------------------------


async def test_a_dead_nodes_users_are_gone_and_that_is_told_once(rig: Rig) -> None:
    dead, (here, there) = await rig.member(), await two(rig)
    for user in ("alice", "bob"):
        await dead.presence.enter("r", connection(f"{user}1", user))
    await here.presence.enter("r", connection("bob2", "bob"))
    await dead.cut()
    await rig.given_up(dead)
    await until(lambda: bool(rig.told))
    await asyncio.gather(here.presence.sweep(dead.node.id), there.presence.sweep(dead.node.id))
    assert rig.told == [("r", "alice", False)]
    assert await here.presence.users("r") == await there.presence.users("r") == ["bob"]


async def test_of_many_entries_two_sweepers_tell_each_once(rig: Rig) -> None:
    dead, (here, there) = await rig.member(), await two(rig)
    users = [f"user{number}" for number in range(600)]  # more than are swept at once
    await asyncio.gather(*[dead.presence.enter(f"r{i % 3}", connection(user)) for i, user in enumerate(users)])
    await dead.cut()
    await asyncio.gather(here.presence.sweep(dead.node.id), there.presence.sweep(dead.node.id))
    assert sorted(rig.told) == sorted((f"r{i % 3}", user, False) for i, user in enumerate(users))


async def test_who_was_given_up_and_lives_is_back(rig: Rig) -> None:
    here, there = await two(rig)
    await here.presence.enter("r", connection("alice"))
    await there.presence.sweep(here.node.id)
    assert rig.told == [("r", "alice", False)]
    await until(lambda: len(rig.told) == 2)
    assert rig.told[1] == ("r", "alice", True)
    assert await there.presence.users("r") == ["alice"]


async def test_a_node_that_stops_leaves_its_users_time_to_come_back(rig: Rig) -> None:
    leaving, here = await rig.member(delay=1), await rig.member()
    for user in ("alice", "bob"):
        await leaving.presence.enter("r", connection(user))
    await leaving.presence.close()
    await leaving.node.stop()
    assert await here.presence.enter("r", connection("alice2", "alice")) is None
    assert await here.presence.users("r") == ["alice", "bob"]
    await until(lambda: bool(rig.told))
    assert rig.told == [("r", "bob", False)]


# -- Redis goes -----------------------------------------------------------------------------------------------------


async def test_without_redis_a_node_knows_its_own(rig: Rig) -> None:
    here, there = await two(rig)
    alice, bob, eve = map(connection, ("alice", "bob", "eve"))
    await here.presence.enter("r", alice)
    await there.presence.enter("r", eve)
    await here.cut()
    assert await here.presence.enter("r", bob) is not None
    assert await here.presence.enter("r", connection("bob2", "bob")) is None
    assert (await here.presence.users("r"), await here.presence.count("r")) == (["alice", "bob"], 2)
    assert await here.presence.leave("r", alice) is not None
    await here.heal()
    assert await here.presence.users("r") == await there.presence.users("r") == ["eve", "bob"]
    assert rig.told == []


async def test_who_only_seemed_to_go_is_told_to_be_back(rig: Rig) -> None:
    here, there = await two(rig)
    alice = connection("c1", "alice")
    await here.presence.enter("r", alice)
    await there.presence.enter("r", connection("c2", "alice"))
    await here.cut()
    gone = await here.presence.leave("r", alice)
    assert gone is not None
    await here.heal()
    await until(lambda: bool(rig.told))
    assert rig.told == [("r", "alice", True)]
    assert here.versions[0] > gone.version


async def test_who_is_lost_without_redis_is_gone_in_time(rig: Rig) -> None:
    here, there = await two(rig)
    alice = connection("alice")
    await here.presence.enter("r", alice)
    await here.cut()
    await here.presence.drop(alice)
    await here.settle(DELAY)
    assert rig.told == [("r", "alice", False)]
    await here.heal()
    assert await there.presence.users("r") == []
    assert len(rig.told) == 1


async def test_a_redis_that_forgot_is_told_anew(rig: Rig) -> None:
    here, there = await two(rig)
    await here.presence.enter("r", connection("alice"))
    await there.presence.enter("r", connection("bob"))
    await rig.restart(here, there)
    assert sorted(await here.presence.users("r")) == ["alice", "bob"]
    assert rig.told == []


async def test_a_connection_that_moved_meanwhile_stays_where_it_is(rig: Rig) -> None:
    here, there = await two(rig)
    alice = connection("alice")
    await here.presence.enter("r", alice)
    await here.cut()
    await there.presence.enter("r", alice)
    await here.heal()
    await here.presence.drop(alice)
    await here.settle(DELAY)
    assert (await there.presence.users("r"), rig.told) == (["alice"], [])


# -- what is kept ---------------------------------------------------------------------------------------------------


async def test_nothing_is_kept_for_ever_nor_of_those_who_left(rig: Rig) -> None:
    here, there = await two(rig)
    alice = connection("alice")
    await here.presence.enter("r", alice, '{"a": 1}')
    await there.presence.enter("r", connection("bob"))
    await there.presence.sweep(here.node.id)
    keys = await rig.client.keys("*presence*")
    assert len(keys) >= 6
    assert [key for key in keys if await rig.client.ttl(key) <= 0] == []
    await there.presence.leave("r", connection("bob"))
    await here.presence.leave("r", alice)
    await rig.client.delete(f"{rig.prefix}:{{/x}}:presence:swept:{here.node.id}")
    kinds = {key.decode().split(":")[3] for key in await rig.client.keys("*presence*")}
    assert kinds == {"due", "version"}
