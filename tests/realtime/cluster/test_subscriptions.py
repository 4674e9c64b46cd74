"""What a member waits for, without a Redis: what a node subscribes to in one is `test_manager`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from server.realtime.cluster import node as nodes
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.cluster.subscriptions import Subscriptions
from server.realtime.engine.outlet import Outlet
from server.realtime.engine.session import Session
from server.realtime.link import Handshake, Link, Member
from tests.realtime.engine.test_session import Owner
from tests.support.client import PATIENCE

ROOM = "r:a"


class Listener:
    """Confirms nothing by itself."""

    def __init__(self) -> None:
        self.lively = False
        self.asked: list[str] = []
        self.awaited: dict[str, asyncio.Future[None]] = {}

    def subscribe(self, channel: str) -> asyncio.Future[None]:
        self.asked.append(f"+{channel}")
        return self.awaited.setdefault(channel, asyncio.get_running_loop().create_future())

    def unsubscribe(self, channel: str) -> None:
        self.asked.append(f"-{channel}")

    def pending(self, channel: str) -> asyncio.Future[None] | None:
        return self.awaited.get(channel)


class Keys:
    def channel(self, namespace: str, room: str) -> str:
        return f"{namespace} {room}"


class FakeNode:
    def __init__(self) -> None:
        self.up = True
        self.keys = Keys()
        self.listener = Listener()

    async def patient(self, answer: Awaitable[Any]) -> Any:
        return await Node.patient(cast(Node, self), answer)


def member(sid: str = "m") -> Member:
    return Member(sid, "/x", Link(Session(sid, Owner(), Outlet()), Handshake("127.0.0.1", None, None)))


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def subscriptions(node: FakeNode) -> Subscriptions:
    return Subscriptions(cast(Node, node))


async def ends(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await task


async def test_the_first_asks_and_all_wait_for_the_answer(node: FakeNode, subscriptions: Subscriptions) -> None:
    first, second = member("a"), member("b")
    subscriptions.enter(first, ROOM, is_first=True)
    subscriptions.enter(second, ROOM, is_first=False)
    subscriptions.end("/x", ROOM)
    assert node.listener.asked == ["+/x r:a", "-/x r:a"]
    waiting = [asyncio.create_task(subscriptions.settled(each)) for each in (first, second)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    node.listener.awaited["/x r:a"].set_result(None)
    for task in waiting:
        await ends(task)
    assert subscriptions._unsettled == {}


async def test_who_relies_on_what_is_in_force_waits_for_nothing(subscriptions: Subscriptions) -> None:
    newcomer = member()
    subscriptions.enter(newcomer, ROOM, is_first=False)
    await subscriptions.settled(newcomer)
    assert not subscriptions.forget(newcomer)


async def test_what_is_answered_is_not_waited_for(subscriptions: Subscriptions) -> None:
    one, (early, late) = member(), (asyncio.get_running_loop().create_future() for _ in range(2))
    early.set_result(None)
    subscriptions.settles_with(one, early)
    assert not subscriptions.forget(one)
    subscriptions.settles_with(one, late)
    late.set_result(None)
    await asyncio.sleep(0)
    assert not subscriptions.forget(one)


async def test_a_subscription_that_fails_settles_too(node: FakeNode, subscriptions: Subscriptions) -> None:
    one = member()
    subscriptions.enter(one, ROOM, is_first=True)
    task = asyncio.create_task(subscriptions.settled(one))
    await asyncio.sleep(0)
    node.listener.awaited["/x r:a"].set_exception(RedisAway("the connection broke"))
    await ends(task)


@pytest.mark.parametrize("lively", [True, False])
async def test_nobody_waits_for_a_redis_that_is_away(
    node: FakeNode, subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch, lively: bool
) -> None:
    """One that was heard of a moment ago has its time to answer."""
    monkeypatch.setattr(nodes, "STALLED_SECONDS", 0.01)
    node.up, node.listener.lively = False, lively
    one = member()
    subscriptions.enter(one, ROOM, is_first=True)
    task = asyncio.create_task(subscriptions.settled(one))
    await asyncio.sleep(0)
    assert task.done() != lively
    await ends(task)


async def test_of_one_that_is_gone_nothing_is_kept(subscriptions: Subscriptions) -> None:
    one = member()
    subscriptions.enter(one, ROOM, is_first=True)
    assert len(subscriptions.forget(one)) == 1
    assert subscriptions._unsettled == {}
