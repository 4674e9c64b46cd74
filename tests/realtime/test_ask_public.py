"""Asking all that a user has, and everybody in a room: over both doors, on one node and on two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from server.errors import AskWouldDeadlock, ClientTimeout, LimitExceeded
from server.realtime import asking
from server.realtime.asks import MAX_OPEN_PER_USER, User
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.rooms import room_name
from server.realtime.tasks import handling
from tests.conftest import Connect
from tests.support.client import PATIENCE, Client
from tests.support.echo import Answer, EchoNamespace
from tests.support.plain import Plain, opening, serving
from tests.support.redis import RedisServer
from tests.support.running import Running, token

LONG = 30.0  # seconds: never waited out
SHORT = 0.3
ALICE, BOB = User(None, "alice"), User(None, "bob")
ROOM = room_name(None, "numbered", "1")

Nodes = list[tuple[Running, EchoNamespace]]
Open = Callable[..., Awaitable[Plain]]


@pytest_asyncio.fixture(params=["one node", "two nodes"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """Which asks, and another, or the same."""
    async with AsyncExitStack() as stack:
        if request.param == "one node":
            yield [await stack.enter_async_context(serving())] * 2
            return
        redis = await stack.enter_async_context(RedisServer())
        found = []
        for _ in range(2):
            node = Node(connector(redis.url), "test")
            dispatch = Dispatch(node.id, node.keys, node.commands, Bounds())
            manager = ClusterFanout(node, dispatch, None)
            found.append(await stack.enter_async_context(serving(node=node, manager=manager)))
        yield found


@pytest_asyncio.fixture
async def plainly() -> AsyncIterator[Open]:
    """A plain WebSocket that has been welcomed; they are closed at the end."""
    async with AsyncExitStack() as stack:

        async def plainly(server: Running, sub: str = "alice", **how: Any) -> Plain:
            plain = await stack.enter_async_context(opening(server, sub, **how))
            await plain.hear("connected")
            await plain.settle()
            return plain

        yield plainly


def ask(namespace: EchoNamespace, user: User = ALICE, timeout: float = LONG) -> asyncio.Task[dict[str, object]]:
    return asyncio.create_task(namespace.ask(user, "question", {"n": 1}, Answer, timeout=timeout))


def ask_room(namespace: EchoNamespace, timeout: float = LONG) -> asyncio.Task[asking.RoomAnswers]:
    return asyncio.create_task(namespace.ask_room(ROOM, "question", {"n": 1}, Answer, timeout=timeout))


async def say(client: Client, question: Any, text: object = "it is") -> Any:
    return await client.call("answer", {"requestId": question["requestId"], "answer": {"answer": text}})


async def expired(question: Any, *others: Client | Plain) -> None:
    for each in others:
        async with asyncio.timeout(PATIENCE):
            told = await (each.expect("request_expired") if isinstance(each, Client) else each.hear("request_expired"))
        assert told["requestId"] == question["requestId"]


def nothing_is_left(namespace: EchoNamespace) -> None:
    assert (len(namespace.asks), namespace.asks._by_user) == (0, {})


# -- a user -----------------------------------------------------------------------------------------------------


async def test_all_that_a_user_has_are_asked_and_the_first_answer_wins(
    nodes: Nodes, connect: Connect, plainly: Open
) -> None:
    (one, namespace), (two, elsewhere) = nodes
    near, far = await connect(one, "/echo", "alice"), await connect(two, "/echo", "alice")
    plain = await plainly(two)
    task = ask(namespace)
    question = await near.expect("question")
    assert await far.expect("question") == question
    assert (await plain.hear("question"))["requestId"] == question["requestId"]
    await plain.say("answer", requestId=question["requestId"], answer={"answer": "plainly"})
    assert (await plain.hear("ack"))["ok"]
    assert await task == {"answer": "plainly"}
    await expired(question, near, far)
    for late in (near, far):
        assert (await say(late, question))["error"]["code"] == "UNKNOWN_REQUEST"
    await plain.settle()
    nothing_is_left(namespace)
    assert (namespace.asks.counts.sent, namespace.asks.counts.answered) == (1, 1)
    assert namespace.asks.counts.refused + (0 if one is two else elsewhere.asks.counts.refused) == 2


async def test_the_winner_is_not_told_that_it_is_over(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, _) = nodes
    near, far = await connect(one, "/echo", "alice"), await connect(two, "/echo", "alice")
    task = ask(namespace)
    question = await far.expect("question")
    assert (await say(far, question))["ok"]
    await task
    await expired(question, near)
    await far.settle()
    assert far.payloads("request_expired") == []


async def test_an_ack_wins_too(nodes: Nodes, connect: Connect, plainly: Open) -> None:
    (one, namespace), (two, _) = nodes
    plain = await plainly(one)
    far = await connect(two, "/echo", "alice")
    far.answer("question", lambda question: {"answer": f"{question['n']} by ack"})
    assert await ask(namespace) == {"answer": "1 by ack"}
    await expired(await plain.hear("question"), plain)


async def test_who_answers_garbage_may_answer_again(nodes: Nodes, connect: Connect, plainly: Open) -> None:
    (one, namespace), (two, _) = nodes
    plain, far = await plainly(one), await connect(two, "/echo", "alice")
    far.answer("question", lambda _: ["no object"])
    task = ask(namespace)
    assert (await far.expect("error"))["code"] == "INVALID_MESSAGE"
    question = await plain.hear("question")
    for bad in ({"answer": 5}, {}, {"answer": "x", "more": 1}, "x", None):
        await plain.say("answer", requestId=question["requestId"], answer=bad)
        assert (await plain.hear("error"))["code"] == "INVALID_MESSAGE"
    assert not task.done()
    assert (await say(far, question, "mended"))["ok"]
    assert await task == {"answer": "mended"}


async def test_nobody_else_is_asked_or_may_answer(nodes: Nodes, connect: Connect, plainly: Open) -> None:
    """The same name in another tenant is somebody else."""
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await connect(two, "/echo", "bob")
    namesake = await plainly(two, token=token("alice", tenant="acme"))
    task = ask(namespace)
    question = await alice.expect("question")
    assert (await say(bob, question))["error"]["code"] == "UNKNOWN_REQUEST"
    await namesake.say("answer", requestId=question["requestId"], answer={"answer": "x"})
    assert (await namesake.receive())["code"] == "UNKNOWN_REQUEST"  # the first that it heard
    assert bob.payloads("question") == []
    assert (await say(alice, question))["ok"]
    assert await task == {"answer": "it is"}


async def test_who_comes_while_it_is_open_is_asked(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, elsewhere) = nodes
    task = ask(namespace)
    first = await connect(two, "/echo", "alice")
    question = await first.expect("question")
    second = await connect(one, "/echo", "alice")
    assert await second.expect("question") == question
    elsewhere.gone_event.clear()
    await first.close()
    await asyncio.wait_for(elsewhere.gone_event.wait(), PATIENCE)
    third = await connect(two, "/echo", "alice")
    assert await third.expect("question") == question
    assert len(second.payloads("question")) == 1
    assert (await say(third, question))["ok"]
    assert await task == {"answer": "it is"}
    await expired(question, second)


async def test_silence_expires_and_all_are_told(nodes: Nodes, connect: Connect, plainly: Open) -> None:
    (one, namespace), (two, _) = nodes
    near, far = await plainly(one), await connect(two, "/echo", "alice")
    with pytest.raises(ClientTimeout):
        await ask(namespace, timeout=SHORT)
    question = await far.expect("question")
    await expired(question, near, far)
    assert (await say(far, question))["error"]["code"] == "UNKNOWN_REQUEST"
    nothing_is_left(namespace)
    assert namespace.asks.counts.expired == 1


async def test_a_cancelled_asker_withdraws_it_from_all(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, _) = nodes
    near, far = await connect(one, "/echo", "alice"), await connect(two, "/echo", "alice")
    task = ask(namespace)
    question = await far.expect("question")
    await near.expect("question")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await expired(question, near, far)
    nothing_is_left(namespace)
    assert namespace.asks.counts.withdrawn == 1


async def test_a_user_who_is_nowhere(nodes: Nodes) -> None:
    namespace = nodes[0][1]
    with pytest.raises(ClientTimeout):
        await ask(namespace, timeout=SHORT)
    nothing_is_left(namespace)


async def test_a_payload_does_not_choose_its_request_id(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), _ = nodes
    client = await connect(one, "/echo", "alice")
    client.answer("question", lambda question: {"given": question["requestId"]})
    answer = await namespace.ask(ALICE, "question", {"requestId": "mine"})  # without a schema: any object
    assert answer["given"] != "mine"


async def test_a_question_has_so_many_places(
    nodes: Nodes, connect: Connect, plainly: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, namespace), (two, _) = nodes
    monkeypatch.setattr(asking, "MAX_PLACES", 2)
    near, other = await connect(one, "/echo", "alice"), await connect(one, "/echo", "alice")
    task = ask(namespace)
    question = await near.expect("question")
    await other.expect("question")
    crowd = await plainly(two)
    assert not task.done()
    [open_ask] = namespace.asks
    assert len(open_ask.asked) == 2
    await crowd.say("answer", requestId=question["requestId"], answer={"answer": "may"})
    assert await task == {"answer": "may"}


# -- a room -----------------------------------------------------------------------------------------------------


async def enter(*clients: Client | Plain) -> None:
    for each in clients:
        if isinstance(each, Plain):
            await each.enter(1)
        else:
            assert (await each.call("enter", {"number": 1}))["ok"]


async def test_everybody_in_a_room_is_asked_once_and_who_said_what_is_told(
    nodes: Nodes, connect: Connect, plainly: Open
) -> None:
    (one, namespace), (two, _) = nodes
    alice, her_other = await connect(one, "/echo", "alice"), await connect(two, "/echo", "alice")
    bob, carol, outside = await connect(two, "/echo", "bob"), await plainly(one, "carol"), await plainly(two, "dora")
    await enter(alice, her_other, bob, carol)
    bob.answer("question", lambda _: {"answer": "bob's"})
    task = ask_room(namespace)
    mine = await alice.expect("question")
    assert await her_other.expect("question") == mine
    his, hers = await bob.expect("question"), await carol.hear("question")
    assert len({each["requestId"] for each in (mine, his, hers)}) == 3
    assert (await say(bob, mine))["error"]["code"] == "UNKNOWN_REQUEST"
    assert (await say(her_other, mine, "alice's"))["ok"]
    await expired(mine, alice)
    assert not task.done()
    await carol.say("answer", requestId=hers["requestId"], answer={"answer": "carol's"})
    found = await task
    assert {each.user: each.answer["answer"] for each in found.answers} == {
        ALICE: "alice's",
        BOB: "bob's",
        User(None, "carol"): "carol's",
    }
    her_id = her_other.payloads("connected")[0]["connection_id"]
    assert next(each.connection_id for each in found.answers if each.user == ALICE) == her_id
    assert found.silent == []
    await outside.say("ping", timestamp=1)
    assert (await outside.receive())["type"] == "pong"  # the first that it heard
    nothing_is_left(namespace)


async def test_at_the_deadline_a_room_gives_what_there_is(nodes: Nodes, connect: Connect, plainly: Open) -> None:
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await plainly(two, "bob")
    await enter(alice, bob)
    alice.answer("question", lambda _: {"answer": "x"})
    found = await ask_room(namespace, timeout=2 * SHORT)
    assert ([each.user for each in found.answers], found.silent) == ([ALICE], [BOB])
    question = await bob.hear("question")
    await expired(question, bob)
    await bob.say("answer", requestId=question["requestId"], answer={"answer": "late"})
    assert (await bob.hear("error"))["code"] == "UNKNOWN_REQUEST"
    await alice.settle()
    assert alice.payloads("request_expired") == []
    counts = namespace.asks.counts
    assert (counts.sent, counts.answered, counts.expired, counts.withdrawn) == (2, 1, 1, 0)
    nothing_is_left(namespace)


async def test_a_room_that_is_cancelled(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await connect(two, "/echo", "bob")
    await enter(alice, bob)
    task = ask_room(namespace)
    mine, his = await alice.expect("question"), await bob.expect("question")
    assert (await say(alice, mine))["ok"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await expired(his, bob)
    assert (namespace.asks.counts.answered, namespace.asks.counts.withdrawn) == (1, 1)
    nothing_is_left(namespace)


async def test_a_member_who_comes_back_may_still_answer(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, elsewhere) = nodes
    bob = await connect(two, "/echo", "bob")
    await enter(bob)
    task = ask_room(namespace)
    question = await bob.expect("question")
    elsewhere.gone_event.clear()
    await bob.close()
    await asyncio.wait_for(elsewhere.gone_event.wait(), PATIENCE)
    again = await connect(one, "/echo", "bob")
    assert await again.expect("question") == question
    await say(again, question, "back")
    assert [each.answer for each in (await task).answers] == [{"answer": "back"}]


async def test_nobody_in_a_room(nodes: Nodes) -> None:
    assert await ask_room(nodes[0][1]) == asking.RoomAnswers([], [])


@pytest.mark.parametrize("bound", ["MAX_OF_ROOM", "MAX_CONNECTIONS_OF_ROOM", "MAX_OPEN"])
async def test_a_room_that_is_too_large_is_not_asked_in_part(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await connect(two, "/echo", "bob")
    await enter(alice, bob)
    monkeypatch.setattr(asking, bound, 1)
    with pytest.raises(LimitExceeded):
        await ask_room(namespace)
    await alice.settle()
    assert alice.payloads("question") == []
    nothing_is_left(namespace)


async def test_who_has_too_many_questions_already_is_silent(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await connect(two, "/echo", "bob")
    await enter(alice, bob)
    bob.answer("question", lambda _: {"answer": "x"})
    pending = [ask(namespace) for _ in range(MAX_OPEN_PER_USER)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded):
        await ask(namespace)
    found = await ask_room(namespace)
    assert ([each.user for each in found.answers], found.silent) == ([BOB], [ALICE])
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    nothing_is_left(namespace)


# -- from a handler ---------------------------------------------------------------------------------------------


async def test_a_handler_may_not_await_its_own_user_or_room(nodes: Nodes, connect: Connect) -> None:
    (one, namespace), (two, _) = nodes
    alice, bob = await connect(one, "/echo", "alice"), await connect(two, "/echo", "bob")
    await enter(alice, bob)
    bob.answer("question", lambda _: {"answer": "bob's"})
    [me] = [each for each in namespace.connections if each.user_id == "alice"]
    marked = handling.set(me.id)
    try:
        with pytest.raises(AskWouldDeadlock):
            await namespace.ask(me, "question", {}, Answer)
        with pytest.raises(AskWouldDeadlock):
            await namespace.ask(ALICE, "question", {}, Answer)
        with pytest.raises(AskWouldDeadlock):
            await namespace.ask_room(ROOM, "question", {}, Answer)
        assert await namespace.ask(BOB, "question", {}, Answer) == {"answer": "bob's"}
        found = await namespace.ask_room(ROOM, "question", {}, Answer, skip=[me.id])
    finally:
        handling.reset(marked)
    assert [(each.user, each.answer) for each in found.answers] == [(BOB, {"answer": "bob's"})]
    assert alice.payloads("question") == []
