"""Questions whose client moves between nodes; what holds on one node too is in `tests/realtime/test_asking.py`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from server.errors import ClientTimeout
from server.namespaces.copilot import schemas
from server.namespaces.copilot.namespace import CLARIFICATION
from server.realtime.asks import Ask, Place
from server.realtime.cluster.asks import ClusterAsks
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.node import Node
from server.realtime.connection import Connection
from tests.conftest import Connect, Serve
from tests.support import managers
from tests.support.client import PATIENCE, Client
from tests.support.copilot import QUESTIONS, code, copilot, drop, finish, until
from tests.support.proxy import Proxy
from tests.support.raw import raw_socket
from tests.support.recovering import raw_connect
from tests.support.redis import RedisServer
from tests.support.running import Running

pytestmark = pytest.mark.undeclared("questions of fewer fields")

LONG = 60.0  # seconds: never waited out
RIGHT = {"answer": "that one"}

Nodes = Callable[[], Awaitable[Running]]


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as redis:
        yield redis


@pytest_asyncio.fixture
async def a_node(serve: Serve, redis: RedisServer) -> Nodes:
    """Each call starts another."""
    return lambda: serve(REDIS_URL=redis.url)


def node_of(server: Running) -> Node:
    assert server.realtime.node is not None
    return server.realtime.node


def others(server: Running) -> ClusterAsks:
    other_nodes = copilot(server).questions.others
    assert isinstance(other_nodes, ClusterAsks)
    return other_nodes


def newest(server: Running, user: str = "alice") -> Connection:
    return [each for each in copilot(server).connections if each.user_id == user][-1]


def ask(server: Running, connection: Connection, timeout: float = LONG) -> asyncio.Task[dict[str, object]]:
    payload = {"question": "Which one?"}
    return asyncio.create_task(
        copilot(server).ask(connection, CLARIFICATION, payload, schemas.Clarification, timeout=timeout)
    )


def only(server: Running) -> Ask:
    [open_ask] = copilot(server).asks
    return open_ask


async def answer(client: Client, question: Any, answer: Any = None) -> Any:
    """By event; the ack."""
    return await client.call("human_response", {"requestId": question["requestId"], **(answer or RIGHT)})


async def die(server: Running, redis: RedisServer) -> None:
    """As far as others see: without a word, its connections to Redis are gone."""
    await node_of(server)._tasks.close()
    async with redis.client() as client:
        while (await client.pubsub_numsub(node_of(server).channel))[0][1]:
            pass


async def asked_on_another(
    a_node: Nodes, connect: Connect
) -> tuple[Running, Running, Client, Any, asyncio.Task[dict[str, object]]]:
    """The nodes that asked and where its client is now, the client there, the question, and who waits."""
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    assert await moved.expect(CLARIFICATION) == question
    return one, two, moved, question, task


async def assert_asked_again(
    node: Running, connect: Connect, question: Any, task: asyncio.Task[dict[str, object]]
) -> None:
    """The user's next client, on this node, is asked the same and may answer."""
    again = await connect(node, "/copilot", "alice")
    assert await again.expect(CLARIFICATION) == question
    await answer(again, question)
    assert await task == RIGHT


async def nothing_is_left(redis: RedisServer, *servers: Running) -> None:
    for server in servers:
        here = copilot(server)
        assert (len(here.asks), here.asks._by_user, others(server)._sought, others(server)._lent) == (0, {}, {}, {})
        assert all(not each.callbacks for each in server.realtime.manager.members("/copilot", None))
        await node_of(server).call("PING")  # what it said to Redis before has been done
    async with redis.client() as client:
        assert await client.keys("*:asks:*") == []


# -- a client that moves ----------------------------------------------------------------------------------------


async def test_the_answer_by_event_finds_its_waiter(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one, two, client, question, task = await asked_on_another(a_node, connect)
    assert await answer(client, question) == {"ok": True}
    assert await task == RIGHT
    assert client.payloads(CLARIFICATION) == [question]
    await nothing_is_left(redis, one, two)


async def test_the_answer_by_ack_finds_its_waiter(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    moved = Client("/copilot")
    moved.answer(CLARIFICATION, lambda _: RIGHT)
    try:
        await moved.connect(two.url, auth={"token": client.sio.connection_auth["token"]})
        assert await task == RIGHT
        assert moved.payloads(CLARIFICATION) == [question]
        await managers.until(lambda: not others(two)._lent)
        await nothing_is_left(redis, one, two)
    finally:
        await moved.close()


@pytest.mark.parametrize("moves", [True, False], ids=["on another node", "on its node"])
async def test_one_that_comes_back_under_its_id_is_asked_again(a_node: Nodes, moves: bool) -> None:
    one = await a_node()
    two = await a_node() if moves else one
    async with raw_socket(one.url) as raw:
        before = await raw_connect(raw, "/copilot")
        await raw.expect("42/copilot")
        task = ask(one, newest(one))
        question = (await raw.expect("42/copilot")).partition("[")[2]
    await managers.until(lambda: not copilot(one).connections)
    async with raw_socket(two.url) as raw:
        after = await raw_connect(raw, "/copilot", pid=before["pid"])
        assert after == before
        while CLARIFICATION not in (packet := await raw.expect("42/copilot,")):
            pass
        head, _, again = packet.partition("[")
        assert again == question
        await raw.send(f"43{head.removeprefix('42')}[{json.dumps(RIGHT)}]")
        assert await task == RIGHT


async def test_a_query_outlives_the_move(a_node: Nodes, connect: Connect) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    question = QUESTIONS[0][0]
    asked = await until(client, question)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    assert await moved.expect(question) == asked
    await finish(moved, question, asked)
    await moved.settle()
    assert len(moved.payloads("response")) == 1
    assert [each["stage"] for each in moved.payloads("processing")] == ["clarifying", "fetching", "answering"]


async def test_one_that_has_moved_before_it_is_asked_is_found(a_node: Nodes, connect: Connect) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    connection = newest(one)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    bystander = await connect(two, "/copilot", "bob")
    task = ask(one, connection)
    await answer(moved, await moved.expect(CLARIFICATION))
    assert await task == RIGHT
    await bystander.settle()
    assert bystander.payloads(CLARIFICATION) == []


async def test_one_that_has_moved_is_found_at_once(
    a_node: Nodes, connect: Connect, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at a pulse."""
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    connection = newest(one)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    async with redis.client() as known, asyncio.timeout(PATIENCE):
        while await known.zscore(node_of(one).keys.key(NODES, "alive"), node_of(two).id) is None:  # noqa: ASYNC110 - nothing announces a pulse
            await asyncio.sleep(0.01)
    monkeypatch.setattr(node_of(one), "pulses", [])
    task = ask(one, connection)
    await answer(moved, await moved.expect(CLARIFICATION))
    assert await task == RIGHT


async def test_one_that_moves_on_is_asked_again(a_node: Nodes, connect: Connect) -> None:
    _, two, moved, question, task = await asked_on_another(a_node, connect)
    three = await a_node()
    await drop(moved, two)
    await assert_asked_again(three, connect, question, task)


async def test_one_that_moves_back_is_asked_again(a_node: Nodes, connect: Connect) -> None:
    one, two, moved, question, task = await asked_on_another(a_node, connect)
    await drop(moved, two)
    await assert_asked_again(one, connect, question, task)


async def test_one_whose_new_node_dies_is_asked_again(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one, two, _, question, task = await asked_on_another(a_node, connect)
    await die(two, redis)
    await assert_asked_again(one, connect, question, task)


async def test_one_that_has_the_question_is_not_asked_twice(a_node: Nodes, connect: Connect) -> None:
    one, _, moved, question, task = await asked_on_another(a_node, connect)
    place = only(one).target
    assert place is not None
    assert await others(one).put(only(one), place)
    await moved.settle()
    assert moved.payloads(CLARIFICATION) == [question]
    task.cancel()


@pytest.mark.parametrize("local", [True, False], ids=["asked where it waits", "asked on another"])
async def test_a_second_connection_is_asked_only_once_the_first_is_gone(
    a_node: Nodes, connect: Connect, local: bool
) -> None:
    if local:
        one, two = await a_node(), await a_node()
        first = await connect(one, "/copilot", "alice")
        task = ask(one, newest(one))
        question = await first.expect(CLARIFICATION)
        home = one
    else:
        one, home, first, question, task = await asked_on_another(a_node, connect)
        two = await a_node()
    second = await connect(two, "/copilot", "alice")
    heir = Place(newest(two).id, node_of(two).id)
    await managers.until(lambda: only(one).heir == heir)
    await second.settle()
    assert second.payloads(CLARIFICATION) == []
    await drop(first, home)
    assert await second.expect(CLARIFICATION) == question
    await answer(second, question)
    assert await task == RIGHT


async def test_a_second_connection_is_asked_where_the_firsts_node_dies(
    a_node: Nodes, connect: Connect, redis: RedisServer
) -> None:
    one, two, _, question, task = await asked_on_another(a_node, connect)
    second = await connect(one, "/copilot", "alice")
    await managers.until(lambda: only(one).heir is not None)
    await die(two, redis)
    assert await second.expect(CLARIFICATION) == question
    await answer(second, question)
    assert await task == RIGHT


async def test_the_expiry_is_told_where_the_client_is(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one), timeout=1.5)
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    await moved.expect(CLARIFICATION)
    with pytest.raises(ClientTimeout):
        await task
    assert await moved.expect("request_expired") == {"requestId": question["requestId"]}
    assert code(await answer(moved, question)) == "UNKNOWN_REQUEST"
    await managers.until(lambda: not others(two)._lent)
    await nothing_is_left(redis, one, two)


# -- answers ----------------------------------------------------------------------------------------------------


async def test_an_answer_counts_from_any_node_and_once(a_node: Nodes, connect: Connect) -> None:
    one, _, moved, question, task = await asked_on_another(a_node, connect)
    three = await a_node()
    elsewhere = await connect(three, "/copilot", "alice")
    assert await answer(elsewhere, question) == {"ok": True}
    assert await task == RIGHT
    at_home = await connect(one, "/copilot", "alice")
    for client in (elsewhere, moved, at_home):
        assert code(await answer(client, question)) == "UNKNOWN_REQUEST"


async def test_of_answers_on_all_nodes_at_once_one_counts(a_node: Nodes, connect: Connect) -> None:
    one, two, moved, question, task = await asked_on_another(a_node, connect)
    clients = [moved, await connect(two, "/copilot", "alice"), await connect(one, "/copilot", "alice")]
    answers = [{"answer": f"number {number}"} for number in range(3)]
    acks = await asyncio.gather(*[answer(*each) for each in zip(clients, [question] * 3, answers, strict=True)])
    [counted] = [number for number, ack in enumerate(acks) if ack["ok"]]
    assert await task == answers[counted]
    assert [code(ack) for ack in acks if not ack["ok"]] == ["UNKNOWN_REQUEST"] * 2


async def test_what_does_not_answer_the_question_changes_nothing(a_node: Nodes, connect: Connect) -> None:
    one, two, moved, question, task = await asked_on_another(a_node, connect)
    mallory = await connect(two, "/copilot", "mallory")
    elsewhere = await connect(two, "/copilot", "alice", tenant="elsewhere")
    for stranger in (mallory, elsewhere):
        assert code(await answer(stranger, question)) == "UNKNOWN_REQUEST"
    other_kind = {"requestId": question["requestId"], "data": [{"cost": 1}]}
    assert code(await moved.call("api_result", other_kind)) == "UNKNOWN_REQUEST"
    made_up = [f"{node_of(one).id}.made-up", f"{node_of(two).id}.made-up", "0123456789.x", "*.x", "x.y", "."]
    for request_id in made_up:
        assert code(await answer(moved, {"requestId": request_id})) == "UNKNOWN_REQUEST"
    assert only(one).request_id == question["requestId"]
    assert await answer(moved, question) == {"ok": True}
    assert await task == RIGHT


async def test_an_ack_of_the_wrong_shape_is_told_and_may_be_mended(a_node: Nodes, connect: Connect) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    connection = newest(one)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    wrong: list[Any] = [{"answer": 5}, ["no object"], {"answer": b"binary"}]
    for each in wrong:
        moved.answer(CLARIFICATION, lambda _, each=each: each)  # type: ignore[misc]
        task = ask(one, connection)
        question = await moved.expect(CLARIFICATION)
        fault = await moved.expect("error")
        assert (fault["code"], fault["requestId"]) == ("INVALID_MESSAGE", question["requestId"])
        assert ("answer" in fault.get("details", {})) == (each == {"answer": 5})
        assert await answer(moved, question) == {"ok": True}
        assert await task == RIGHT


async def test_an_ack_to_another_node_holds_up_nothing_else(
    a_node: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    connection = newest(one)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    moved.answer(CLARIFICATION, lambda _: RIGHT)
    waiting, go_on = asyncio.Event(), asyncio.Event()
    hand_in = others(two)._hand_in

    async def slow(*arguments: Any) -> Any:
        waiting.set()
        await go_on.wait()
        return await hand_in(*arguments)

    monkeypatch.setattr(others(two), "_hand_in", slow)
    task = ask(one, connection)
    await asyncio.wait_for(waiting.wait(), PATIENCE)
    await moved.settle()
    go_on.set()
    assert await task == RIGHT


async def test_an_answer_whose_waiter_died_is_unknown(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one, _, moved, question, task = await asked_on_another(a_node, connect)
    await die(one, redis)
    assert code(await answer(moved, question)) == "UNKNOWN_REQUEST"
    task.cancel()


# -- Redis ------------------------------------------------------------------------------------------------------


async def test_a_listed_question_ends_by_itself(a_node: Nodes, connect: Connect, redis: RedisServer) -> None:
    one = await a_node()
    await connect(one, "/copilot", "alice")
    tasks = [ask(one, newest(one)), ask(one, newest(one), timeout=LONG / 2)]
    await managers.until(lambda: len(copilot(one).asks) == 2)
    await node_of(one).call("PING")
    async with redis.client() as client:
        [key] = await client.keys("*:asks:*")
        assert await client.zcard(key) == 2
        assert LONG * 1000 / 2 < await client.pttl(key) <= LONG * 1000 + 1
        await client.zadd(key, {"of a node that died": 1})
        tasks.append(ask(one, newest(one)))
        await managers.until(lambda: len(copilot(one).asks) == 3)
        await node_of(one).call("PING")
        assert await client.zscore(key, "of a node that died") is None
    for task in tasks:
        task.cancel()


async def test_without_redis_a_client_is_asked_and_answers_here(
    a_node: Nodes, connect: Connect, redis: RedisServer
) -> None:
    one = await a_node()
    await redis.kill()
    await managers.until(lambda: not node_of(one).up)
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    again = await connect(one, "/copilot", "alice")
    assert await again.expect(CLARIFICATION) == question
    assert code(await answer(again, {"requestId": "0123456789.made-up"})) == "TIMEOUT"
    await answer(again, question)
    assert await task == RIGHT


async def test_one_that_moved_while_redis_was_away_is_found_when_it_is_back(
    a_node: Nodes, connect: Connect, redis: RedisServer
) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    connection = newest(one)
    await redis.kill()
    await managers.until(lambda: not node_of(one).up and not node_of(two).up)
    await drop(client, one)
    task = ask(one, connection)
    moved = await connect(two, "/copilot", "alice")
    await redis.start()
    await answer(moved, await moved.expect(CLARIFICATION))
    assert await task == RIGHT


async def test_a_question_that_redis_has_forgotten_is_listed_again(
    a_node: Nodes, connect: Connect, redis: RedisServer
) -> None:
    one, two = await a_node(), await a_node()
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await redis.kill()
    await managers.until(lambda: not node_of(one).up and not node_of(two).up)
    await redis.start()
    await managers.until(lambda: node_of(one).up and node_of(two).up)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    assert await moved.expect(CLARIFICATION) == question
    await answer(moved, question)
    assert await task == RIGHT


async def test_who_cannot_hand_an_answer_in_is_asked_again(serve: Serve, connect: Connect, redis: RedisServer) -> None:
    proxy = await Proxy.start("127.0.0.1", redis.port)
    one, two = await serve(REDIS_URL=redis.url), await serve(REDIS_URL=redis.url_on(proxy.port))
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    moved = await connect(two, "/copilot", "alice")
    assert await moved.expect(CLARIFICATION) == question
    proxy.refuse()
    await proxy.cut()
    assert code(await answer(moved, question)) == "TIMEOUT"
    await proxy.accept()
    assert await moved.expect(CLARIFICATION) == question
    assert await answer(moved, question) == {"ok": True}
    assert await task == RIGHT
    await proxy.close()


async def test_who_comes_while_its_node_is_cut_off_is_asked_afterwards(
    serve: Serve, connect: Connect, redis: RedisServer
) -> None:
    proxy = await Proxy.start("127.0.0.1", redis.port)
    one, two = await serve(REDIS_URL=redis.url), await serve(REDIS_URL=redis.url_on(proxy.port))
    client = await connect(one, "/copilot", "alice")
    task = ask(one, newest(one))
    question = await client.expect(CLARIFICATION)
    await drop(client, one)
    proxy.refuse()
    await proxy.cut()
    await managers.until(lambda: not node_of(two).up)
    moved = await connect(two, "/copilot", "alice")
    await moved.settle()
    await proxy.accept()
    assert await moved.expect(CLARIFICATION) == question
    await answer(moved, question)
    assert await task == RIGHT
    await proxy.close()
