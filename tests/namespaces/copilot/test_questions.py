from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from socketio.exceptions import ConnectionError as Refused

from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.copilot import (
    COSTS,
    GCP,
    QUESTIONS,
    by_ack,
    code,
    copilot,
    drop,
    finish,
    until,
)
from tests.support.running import Running, token


@pytest_asyncio.fixture
async def server(serve: Serve) -> Running:
    return await serve()


# -- answers that do not count ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_a_wrong_request_id_changes_nothing(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    assert code(await client.call(event, {"requestId": "made up", **right})) == "UNKNOWN_REQUEST"
    await finish(client, question, asked)


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_a_second_answer_is_unknown(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    await finish(client, question, asked)
    assert code(await client.call(event, {"requestId": asked["requestId"], **right})) == "UNKNOWN_REQUEST"
    await client.settle()
    assert len(client.payloads("response")) == 1


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_another_users_answer_is_unknown(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    for stranger in (
        await connect(server, "/copilot", "mallory"),
        await connect(server, "/copilot", "alice", tenant="elsewhere"),
    ):
        assert code(await stranger.call(event, {"requestId": asked["requestId"], **right})) == "UNKNOWN_REQUEST"
    await finish(client, question, asked)


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_an_answer_to_another_kind_of_question_is_unknown(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    for other, other_event, other_right, _ in QUESTIONS:
        if other != question:
            ack = await client.call(other_event, {"requestId": asked["requestId"], **other_right})
            assert code(ack) == "UNKNOWN_REQUEST"
    await finish(client, question, asked)


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_an_answer_of_the_wrong_shape_may_be_sent_again(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    assert code(await client.call(event, {"requestId": asked["requestId"], **wrong})) == "INVALID_MESSAGE"
    await finish(client, question, asked)


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_an_ack_of_the_wrong_shape_is_told_and_an_event_may_mend_it(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    client.answer(question, lambda _: wrong)
    asked = await until(client, question)
    error = await client.expect("error")
    assert (error["code"], error["requestId"]) == ("INVALID_MESSAGE", asked["requestId"])
    await finish(client, question, asked)


async def test_an_event_counts_and_the_ack_behind_it_does_not(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")

    async def both(asked: dict[str, Any]) -> dict[str, Any]:
        await client.sio.emit("available_data", {**asked_id(asked), "datasets": [COSTS]}, namespace="/copilot")
        return {"datasets": [GCP]}

    client.sio.on("request_available_data", both, namespace="/copilot")
    await client.call("query", {"text": "cost"})
    assert (await client.expect("request_api"))["dataset"] == "aws_costs"
    assert (await client.expect("error"))["code"] == "UNKNOWN_REQUEST"


def asked_id(asked: dict[str, Any]) -> dict[str, Any]:
    return {"requestId": asked["requestId"]}


async def test_an_error_has_no_query_id_where_no_query_is_meant(server: Running, connect: Connect) -> None:
    """A client tells errors of its queries from errors of its messages by the query_id."""
    client = await connect(server, "/copilot", "alice")
    await client.emit("available_data", {"requestId": "made up", "datasets": []})
    error = await client.expect("error")
    assert error["code"] == "UNKNOWN_REQUEST"
    assert "query_id" not in error


# -- time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_an_unanswered_question_expires_and_ends_its_query(
    serve: Serve, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    person = question == "clarification_request"
    timeouts = {"COPILOT_DATA_TIMEOUT": 5 if person else 0.4, "COPILOT_PERSON_TIMEOUT": 0.2 if person else 5}
    server = await serve(**timeouts)
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    assert await client.expect("request_expired") == {"requestId": asked["requestId"]}
    error = await client.expect("error")
    assert error["code"] == "CLIENT_TIMEOUT"
    assert error["query_id"] == client.payloads("processing")[0]["query_id"]
    assert code(await client.call(event, {"requestId": asked["requestId"], **right})) == "UNKNOWN_REQUEST"
    await client.settle()
    assert client.payloads("response") == []
    assert len(copilot(server).asks) == 0


async def test_a_person_is_given_longer_than_a_client(serve: Serve, connect: Connect) -> None:
    server = await serve(COPILOT_DATA_TIMEOUT=0.3)
    client = await connect(server, "/copilot", "alice")
    by_ack(client, datasets=[COSTS, GCP])

    async def slow_person(_: Any) -> dict[str, str]:
        await asyncio.sleep(0.6)
        return {"answer": "aws_costs"}

    client.sio.on("clarification_request", slow_person, namespace="/copilot")
    await client.call("query", {"text": "cost"})
    await client.expect("response")


async def test_unanswered_queries_of_many_users_leave_nothing_behind(serve: Serve, connect: Connect) -> None:
    server = await serve(COPILOT_DATA_TIMEOUT=0.2)
    clients = [await connect(server, "/copilot", f"user-{number}") for number in range(20)]
    await asyncio.gather(*(client.call("query", {"text": "cost"}) for client in clients for _ in range(5)))
    for client in clients:
        for _ in range(5):
            assert (await client.expect("error"))["code"] == "CLIENT_TIMEOUT"
    namespace = copilot(server)
    assert (len(namespace.asks), len(namespace.service)) == (0, 0)
    assert all(not each.callbacks for each in server.realtime.manager.members("/copilot", None))


# -- many connections and users ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "event", "right", "wrong"), QUESTIONS)
async def test_a_client_that_comes_back_is_asked_again_and_gets_the_response(
    server: Running, connect: Connect, question: str, event: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    client = await connect(server, "/copilot", "alice")
    asked = await until(client, question)
    await drop(client, server)
    again = await connect(server, "/copilot", "alice")
    assert await again.expect(question) == asked
    await finish(again, question, asked)


async def test_a_client_that_comes_back_may_answer_by_ack(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost", "query_id": "q"})
    await client.expect("request_available_data")
    await drop(client, server)
    again = Client("/copilot")
    by_ack(again)
    try:
        await again.connect(server.url, token("alice"))
        assert (await again.expect("response"))["query_id"] == "q"
    finally:
        await again.close()


async def test_another_user_who_connects_is_not_asked(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost"})
    await client.expect("request_available_data")
    await drop(client, server)
    stranger = await connect(server, "/copilot", "mallory")
    await stranger.settle()
    assert [name for name, _ in stranger.received] == ["connected", "pong"]


async def test_queries_of_two_connections_of_a_user_do_not_mix(server: Running, connect: Connect) -> None:
    tabs = [await connect(server, "/copilot", "alice") for _ in range(2)]
    for number, tab in enumerate(tabs):
        by_ack(tab, datasets=[{**COSTS, "name": f"costs {number}"}], rows=[{"cost": number + 1}])
    acks = [await tab.call("query", {"text": "cost", "query_id": f"q{at}"}) for at, tab in enumerate(tabs)]
    assert [ack["remaining"] for ack in acks] == [9, 8]
    for number, tab in enumerate(tabs):
        response = await tab.expect("response")
        assert response["query_id"] == f"q{number}"
        assert response["sources"] == [{"dataset": f"costs {number}", "rows": 1}]
        assert response["data"]["overall"] == number + 1
    for tab in tabs:
        await tab.settle()
        assert len(tab.payloads("response")) == 1
        assert len({payload["query_id"] for payload in tab.payloads("processing")}) == 1


async def test_another_tab_of_the_same_user_may_answer(server: Running, connect: Connect) -> None:
    """The request id is bound to the user, not to the connection (SPEC §7)."""
    client, tab = [await connect(server, "/copilot", "alice") for _ in range(2)]
    await client.call("query", {"text": "cost"})
    asked = await client.expect("request_available_data")
    ack = await tab.call("available_data", {"requestId": asked["requestId"], "datasets": [COSTS]})
    assert ack == {"ok": True}
    assert (await client.expect("request_api"))["dataset"] == "aws_costs"
    assert tab.payloads("request_api") == []


async def test_users_are_answered_side_by_side(server: Running, connect: Connect) -> None:
    users = [await connect(server, "/copilot", f"user-{number}") for number in range(10)]
    for number, user in enumerate(users):
        by_ack(user, rows=[{"cost": number}])
    for user in users:
        await user.call("query", {"text": "cost", "query_id": "the same id"})
    for number, user in enumerate(users):
        assert (await user.expect("response"))["data"]["overall"] == number


async def test_a_user_who_leaves_does_not_hold_up_another(server: Running, connect: Connect) -> None:
    alice, bob = [await connect(server, "/copilot", name) for name in ("alice", "bob")]
    await alice.call("query", {"text": "cost"})
    await alice.expect("request_available_data")
    await drop(alice, server)
    by_ack(bob)
    await bob.call("query", {"text": "cost"})
    await bob.expect("response")


async def test_a_connection_stays_responsive_while_its_query_waits(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost"})
    await client.expect("request_available_data")
    assert (await client.call("ping", {"timestamp": 5}))["timestamp"] == 5


async def test_a_token_is_required(server: Running, connect: Connect) -> None:
    with pytest.raises(Refused):
        await connect(server, "/copilot")
