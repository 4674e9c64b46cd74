"""What presence is, of one node and of many; what only many do is in `tests/realtime/cluster/test_presence.py`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.realtime.presence import Change
from tests.support.present import DELAY, Watched, cluster, connection, in_memory


@pytest_asyncio.fixture(params=["memory", "redis"])
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    if request.param == "memory":
        yield in_memory()
    else:
        async with cluster() as rig:
            yield await rig.member()


def plain(change: Change | None) -> tuple[str, str, bool] | None:
    return None if change is None else (change.room, change.user_id, change.present)


async def test_a_user_comes_with_the_first_connection_and_goes_with_the_last(watched: Watched) -> None:
    presence = watched.presence
    phone, laptop, bob = connection("c1", "alice"), connection("c2", "alice"), connection("c3", "bob")
    assert plain(await presence.enter("r", phone)) == ("r", "alice", True)
    assert plain(await presence.enter("r", bob)) == ("r", "bob", True)
    assert await presence.enter("r", laptop) is None
    assert await presence.enter("r", laptop) is None
    assert (await presence.users("r"), await presence.count("r")) == (["alice", "bob"], 2)
    assert await presence.leave("r", phone) is None
    assert await presence.leave("r", phone) is None
    assert plain(await presence.leave("r", laptop)) == ("r", "alice", False)
    assert plain(await presence.enter("r", phone)) == ("r", "alice", True)
    assert (await presence.users("r"), await presence.count("r")) == (["bob", "alice"], 2)
    assert watched.told == []


async def test_rooms_are_apart(watched: Watched) -> None:
    presence = watched.presence
    alice = connection("alice")
    for room in ("r2", "r1"):
        assert await presence.enter(room, alice) is not None
    assert presence.rooms(alice) == ["r1", "r2"]
    assert await presence.leave("r1", alice) is not None
    assert (presence.holds("r1", alice), presence.holds("r2", alice)) == (False, True)
    assert (await presence.users("r1"), await presence.users("r2")) == ([], ["alice"])
    assert await presence.leave("never entered", alice) is None
    assert [plain(each) for each in await presence.leave_all(alice)] == [("r2", "alice", False)]
    assert await presence.leave_all(alice) == presence.rooms(alice) == []


async def test_versions_rise(watched: Watched) -> None:
    versions = []
    for number in range(5):
        alice = connection(f"c{number}", "alice")
        for change in (await watched.presence.enter("r", alice), await watched.presence.leave("r", alice)):
            assert change is not None
            versions.append(change.version)
    await watched.presence.enter("r", alice)
    await watched.presence.drop(alice)
    await watched.settle(DELAY)
    versions += watched.versions
    assert len(versions) == 11
    assert versions == sorted(set(versions))


async def test_who_was_lost_is_gone_after_a_while(watched: Watched) -> None:
    presence = watched.presence
    alice = connection("alice")
    for room in ("r1", "r2"):
        await presence.enter(room, alice)
    await presence.drop(alice)
    assert presence.rooms(alice) == []
    await watched.settle(DELAY - 0.1)
    assert (await presence.users("r1"), watched.told) == (["alice"], [])
    await watched.settle(0.1)
    assert watched.told == [("r1", "alice", False), ("r2", "alice", False)]
    assert await presence.users("r1") == await presence.users("r2") == []
    await watched.settle(DELAY)
    assert len(watched.told) == 2


@pytest.mark.parametrize("id", ["c1", "c2"])
async def test_nobody_hears_of_who_is_back_in_time(watched: Watched, id: str) -> None:
    presence = watched.presence
    first, again = connection("c1", "alice"), connection(id, "alice")
    await presence.enter("r", first)
    await presence.drop(first)
    await watched.settle(DELAY - 0.1)
    assert await presence.enter("r", again) is None
    await watched.settle(DELAY)
    assert (await presence.users("r"), watched.told) == (["alice"], [])
    await presence.drop(again)
    await watched.settle(DELAY)
    assert watched.told == [("r", "alice", False)]


async def test_one_goes_while_another_is_lost(watched: Watched) -> None:
    """The user is there until the last of them is gone, whichever that is."""
    presence = watched.presence
    lost, there = connection("c1", "alice"), connection("c2", "alice")
    for each in (lost, there):
        await presence.enter("r", each)
    await presence.drop(lost)
    assert await presence.leave("r", there) is None
    assert await presence.users("r") == ["alice"]
    await watched.settle(DELAY)
    assert (await presence.users("r"), watched.told) == ([], [("r", "alice", False)])


async def test_without_a_delay_the_lost_are_gone_at_once(watched: Watched) -> None:
    watched.presence.delay = 0.0
    await watched.presence.enter("r", alice := connection("alice"))
    await watched.presence.drop(alice)
    assert watched.told == [("r", "alice", False)]


async def test_it_looks_after_the_lost_by_itself(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.realtime.presence.TICK_SECONDS", 0)
    told = asyncio.Event()

    async def tell(change: Change) -> None:
        told.set()

    watched.presence.changed = tell
    await watched.presence.enter("r", alice := connection("alice"))
    await watched.presence.drop(alice)
    watched.now += DELAY
    serving = asyncio.create_task(watched.presence.serve())
    async with asyncio.timeout(10):
        await told.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_of_twenty_at_once_one_comes_and_one_goes(watched: Watched) -> None:
    presence = watched.presence
    all_ = [connection(f"c{number}", "alice") for number in range(20)]
    came = await asyncio.gather(*[presence.enter("r", each) for each in all_])
    assert sum(each is not None for each in came) == 1
    went = await asyncio.gather(*[presence.leave("r", each) for each in all_])
    assert sum(each is not None for each in went) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_who_is_there_is_who_was_told_to_be(watched: Watched, seed: int) -> None:
    """State and changes agree, whatever happens in whatever order; and nothing is kept of those who are gone."""
    chance = random.Random(seed)  # noqa: S311 - to be the same again
    presence = watched.presence
    connections = [connection(f"c{number}", f"user{number % 3}") for number in range(6)]
    told: dict[str, set[str]] = {"r1": set(), "r2": set()}

    def hear(*changes: Change | None) -> None:
        for change in changes:
            if change is not None and change.present:
                assert change.user_id not in told[change.room]
                told[change.room].add(change.user_id)
            elif change is not None:
                told[change.room].remove(change.user_id)

    async def changed(change: Change) -> None:
        hear(change)

    presence.changed = changed
    for _ in range(200):
        each, room = chance.choice(connections), chance.choice(["r1", "r2"])
        what = chance.random()
        if what < 0.5:
            hear(await presence.enter(room, each))
        elif what < 0.75:
            hear(await presence.leave(room, each))
        elif what < 0.9:
            await presence.drop(each)
        else:
            await watched.settle(chance.uniform(0, DELAY))
        assert set(await presence.users(room)) == told[room]
    for each in connections:
        await presence.drop(each)
    await watched.settle(DELAY)
    assert told == {"r1": set(), "r2": set()}
    assert presence._here == presence._joined == presence._lost == {}
