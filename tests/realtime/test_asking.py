from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from server.errors import ClientTimeout, UnknownRequest
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.connection import Connection
from server.realtime.limits import Rate
from tests.conftest import Connect
from tests.support.client import Client
from tests.support.echo import Answer, EchoNamespace, serving
from tests.support.redis import RedisServer
from tests.support.running import Running

LONG = 30.0  # seconds: never waited out


# -- asking over the wire ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(params=["alone", "one of many"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Running, EchoNamespace]]:
    """On a node that is alone, and on one of a cluster."""
    if request.param == "alone":
        async with serving() as running:
            yield running
        return
    async with RedisServer() as redis:
        node = Node(connector(redis.url), "test")
        dispatch = Dispatch(node.id, node.keys, node.commands, Bounds())
        async with serving(node=node, manager=ClusterFanout(node, dispatch, None)) as running:
            yield running


def asking(namespace: EchoNamespace, connection: Connection, timeout: float = LONG) -> asyncio.Task[dict[str, object]]:
    return asyncio.create_task(namespace.ask(connection, "question", {"n": 1}, Answer, timeout=timeout))


def only(namespace: EchoNamespace) -> Connection:
    return namespace.connections[-1]


def callbacks(server: Running) -> int:
    """Ack callbacks that are kept."""
    return sum(len(each.callbacks) for each in server.realtime.manager.members("/echo", None))


def left_behind(server: Running, namespace: EchoNamespace) -> tuple[int, int, int]:
    return len(namespace.asks), len(namespace.asks._by_user), callbacks(server)


async def drop(client: Client, namespace: EchoNamespace) -> None:
    """Leaves, and waits until the server has noticed."""
    namespace.gone_event.clear()
    await client.close()
    await asyncio.wait_for(namespace.gone_event.wait(), 10)


async def test_an_ack_answers(served: tuple[Running, EchoNamespace], connect: Connect) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    client.answer("question", lambda question: {"answer": f"{question['n']} it is"})
    assert await asking(namespace, only(namespace)) == {"answer": "1 it is"}
    assert left_behind(server, namespace) == (0, 0, 0)


async def test_an_ack_of_the_wrong_shape_is_told_and_leaves_the_question_open(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    client.answer("question", lambda _: ["no object"])
    task = asking(namespace, only(namespace))
    fault = await client.expect("error")
    question = client.payloads("question")[0]
    assert (fault["code"], fault["requestId"]) == ("INVALID_MESSAGE", question["requestId"])
    namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "mended"})
    assert await task == {"answer": "mended"}


async def test_the_empty_ack_of_a_client_that_answers_by_event_is_no_fault(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace))
    question = await client.expect("question")  # the stock client acks it with nothing
    await client.settle()
    assert client.payloads("error") == []
    namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "x"})
    assert await task == {"answer": "x"}


async def test_silence_expires_and_is_told(served: tuple[Running, EchoNamespace], connect: Connect) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    with pytest.raises(ClientTimeout):
        await asking(namespace, only(namespace), timeout=0.05)
    question = await client.expect("question")
    assert await client.expect("request_expired") == {"requestId": question["requestId"]}
    assert left_behind(server, namespace) == (0, 0, 0)


async def test_an_answer_while_its_client_is_told_of_the_expiry_is_late(
    served: tuple[Running, EchoNamespace], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    await client.expect("connected")
    connection = only(namespace)
    outcomes: list[str] = []

    async def send(connection: Connection, event: str, payload: Mapping[str, object], **_: Any) -> None:
        assert event == "request_expired"
        with pytest.raises(UnknownRequest):
            namespace.asks.answer(connection, "question", payload["requestId"], {"answer": "late"})
        assert list(namespace.asks.open_of(connection)) == []
        outcomes.append("refused")

    monkeypatch.setattr(namespace, "send", send)
    with pytest.raises(ClientTimeout):
        await asking(namespace, connection, timeout=0.05)
    assert outcomes == ["refused"]


async def test_an_answer_accepted_in_the_moment_of_the_deadline_counts(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    connection = only(namespace)
    task = asking(namespace, connection, timeout=0.2)
    question = await client.expect("question")
    time.sleep(0.3)  # noqa: ASYNC251 - the deadline passes while the loop is busy, so both are due at once
    answer = {"answer": "just in time"}
    asyncio.get_running_loop().call_soon(namespace.asks.answer, connection, "question", question["requestId"], answer)
    assert await task == answer
    assert client.payloads("request_expired") == []


async def test_a_cancelled_asker_leaves_nothing_behind(served: tuple[Running, EchoNamespace], connect: Connect) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace))
    question = await client.expect("question")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_behind(server, namespace) == (0, 0, 0)
    assert await client.expect("request_expired") == {"requestId": question["requestId"]}


async def test_what_became_of_questions_is_counted(served: tuple[Running, EchoNamespace], connect: Connect) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    connection = only(namespace)
    with pytest.raises(ClientTimeout):
        await asking(namespace, connection, timeout=0.01)
    cancelled = asking(namespace, connection)
    await client.expect("question", lambda question: question != client.payloads("question")[0])
    cancelled.cancel()
    client.answer("question", lambda _: {"answer": "x"})
    await asking(namespace, connection)
    open_one = asking(namespace, connection, timeout=0.2)
    for request_id in ("made up", client.payloads("question")[0]["requestId"]):
        with pytest.raises(UnknownRequest):
            await namespace.answer(connection, "question", request_id, {"answer": "x"})
    await open_one
    assert dataclasses.asdict(namespace.asks.counts) == {
        "sent": 4,
        "answered": 2,
        "expired": 1,
        "withdrawn": 1,
        "refused": 2,
    }
    assert left_behind(server, namespace) == (0, 0, 0)


async def test_a_client_that_comes_back_is_asked_again_with_the_same_request_id(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace))
    question = await first.expect("question")
    await drop(first, namespace)
    again = await connect(server, "/echo", "alice")
    assert await again.expect("question") == question
    namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "back"})
    assert await task == {"answer": "back"}
    assert left_behind(server, namespace) == (0, 0, 0)


async def test_a_question_whose_client_is_gone_waits_for_its_return(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    connection = only(namespace)
    await drop(first, namespace)
    task = asking(namespace, connection)
    second = await connect(server, "/echo", "alice")
    question = await second.expect("question")
    namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "x"})
    assert await task == {"answer": "x"}


async def test_a_question_whose_client_has_come_back_already_goes_to_the_new_connection(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    connection = only(namespace)
    second = await connect(server, "/echo", "alice")
    second.answer("question", lambda _: {"answer": "here"})
    await drop(first, namespace)
    assert await asking(namespace, connection) == {"answer": "here"}


async def test_a_second_connection_is_not_asked_while_the_first_is_there(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    connection = only(namespace)
    task = asking(namespace, connection)
    question = await first.expect("question")
    second = await connect(server, "/echo", "alice")
    await second.settle()
    assert second.payloads("question") == []
    namespace.asks.answer(connection, "question", question["requestId"], {"answer": "first"})
    await task


async def test_a_connection_that_came_before_the_drop_was_noticed_is_asked_then(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    """A lost network is noticed only by the heartbeat; by then its client has long been back."""
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    bystander = await connect(server, "/echo", "bob")
    connection = namespace.connections[0]
    task = asking(namespace, connection)
    question = await first.expect("question")
    second = await connect(server, "/echo", "alice")
    second.answer("question", lambda _: {"answer": "second"})
    await drop(first, namespace)
    assert await task == {"answer": "second"}
    assert second.payloads("question") == [question]
    assert bystander.payloads("question") == []


async def test_an_older_connection_of_the_user_is_not_asked_when_the_asked_one_drops(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    older = await connect(server, "/echo", "alice")
    await older.expect("connected")
    asked = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace))
    question = await asked.expect("question")
    await drop(asked, namespace)
    await older.settle()
    assert older.payloads("question") == []
    again = await connect(server, "/echo", "alice")
    assert await again.expect("question") == question
    namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "x"})
    await task


async def test_a_client_whose_session_was_resumed_before_its_old_connection_ended_is_asked_again(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace))
    question = await client.expect("question")
    old = only(namespace)
    namespace.questions.hand_over(Connection(old.id, old.namespace, old.identity, old.address))
    assert await client.expect("question") == question
    namespace.asks.answer(old, "question", question["requestId"], {"answer": "x"})
    assert await task == {"answer": "x"}


async def test_a_replaced_session_hands_its_question_to_the_new_one(connect: Connect) -> None:
    async with serving(single_session=True) as (server, namespace):
        first = await connect(server, "/echo", "alice")
        task = asking(namespace, only(namespace))
        question = await first.expect("question")
        second = await connect(server, "/echo", "alice")
        assert await second.expect("question") == question
        namespace.asks.answer(only(namespace), "question", question["requestId"], {"answer": "x"})
        await task


async def test_everyone_who_was_asked_and_is_there_is_told_of_the_expiry(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    first = await connect(server, "/echo", "alice")
    task = asking(namespace, only(namespace), timeout=1)
    question = await first.expect("question")
    await drop(first, namespace)
    second = await connect(server, "/echo", "alice")
    with pytest.raises(ClientTimeout):
        await task
    assert await second.expect("request_expired") == {"requestId": question["requestId"]}
    assert first.payloads("request_expired") == []


async def test_a_late_ack_is_unknown(served: tuple[Running, EchoNamespace], connect: Connect) -> None:
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    may_answer = asyncio.Event()

    async def answer(question: Any) -> Any:
        await may_answer.wait()
        return {"answer": "late"}

    client.sio.on("question", answer, namespace="/echo")
    with pytest.raises(ClientTimeout):
        await asking(namespace, only(namespace), timeout=0.05)
    may_answer.set()
    assert (await client.expect("error"))["code"] == "UNKNOWN_REQUEST"


async def test_made_up_acks_are_refused_and_break_nothing(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    """Id 0 is where python-socketio keeps its counter: calling it would end all questions to this client."""
    server, namespace = served
    client = await connect(server, "/echo", "alice")
    client.answer("question", lambda _: {"answer": "fine"})
    await asking(namespace, only(namespace))  # makes the counter
    for made_up in (0, 1, 99):
        packet = client.sio.packet_class(3, namespace="/echo", id=made_up, data=[{"answer": "x"}])
        await client.sio._send_packet(packet)
        assert (await client.expect("error"))["code"] == "UNKNOWN_REQUEST"
    assert await asking(namespace, only(namespace)) == {"answer": "fine"}


async def test_made_up_acks_beyond_the_rate_are_ignored(connect: Connect) -> None:
    async with serving(rates={"events": Rate(5, 60)}) as (server, _):
        client = await connect(server, "/echo", "alice")
        for _ in range(20):
            await client.sio._send_packet(client.sio.packet_class(3, namespace="/echo", id=9, data=[{}]))
        await client.settle()
        assert len(client.payloads("error")) == 5


async def test_a_thousand_unanswered_questions_leave_nothing_behind(
    served: tuple[Running, EchoNamespace], connect: Connect
) -> None:
    server, namespace = served
    clients = [await connect(server, "/echo", f"user-{number}") for number in range(10)]
    tasks = [asking(namespace, each, timeout=0.3) for each in namespace.connections for _ in range(100)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, ClientTimeout) for outcome in outcomes)
    assert left_behind(server, namespace) == (0, 0, 0)
    for client in clients:
        await client.settle()
        assert len(client.payloads("request_expired")) == 100
