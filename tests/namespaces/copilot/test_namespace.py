from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import pytest_asyncio
from socketio.exceptions import ConnectionError as Refused

from server.namespaces.copilot.namespace import CopilotNamespace
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.running import Running, token

COSTS = {"name": "aws_costs", "description": "AWS cost", "columns": ["date", "service", "cost"]}
GCP = {"name": "gcp_costs", "description": "GCP cost", "columns": ["date", "service", "cost"]}
ROWS = [
    {"date": "2025-10-01", "service": "EC2", "cost": 10},
    {"date": "2025-10-01", "service": "S3", "cost": "5.5"},
    {"date": "2025-10-02", "service": "EC2", "cost": 1},
]
#: Question, the event that answers it, an answer of the right shape, one of the wrong.
QUESTIONS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("request_available_data", "available_data", {"datasets": [COSTS, GCP]}, {"datasets": "aws_costs"}),
    ("clarification_request", "human_response", {"answer": "aws_costs"}, {"answer": 5}),
    ("request_api", "api_result", {"data": ROWS}, {"data": [1]}),
]
EVENT_OF = {question: answering for question, answering, _, _ in QUESTIONS}


@pytest_asyncio.fixture
async def server(serve: Serve) -> Running:
    return await serve()


def copilot(server: Running) -> CopilotNamespace:
    return cast(CopilotNamespace, server.realtime._served["/copilot"])


def by_ack(client: Client, datasets: Any = (COSTS,), rows: Any = ROWS, answer: str = "aws_costs") -> None:
    client.answer("request_available_data", lambda _: {"datasets": list(datasets)})
    client.answer("request_api", lambda _: {"data": rows})
    client.answer("clarification_request", lambda _: {"answer": answer})


async def answering(client: Client, question: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Waits for the question and answers it by its event."""
    asked = await client.expect(question)
    assert await client.call(EVENT_OF[question], {"requestId": asked["requestId"], **answer}) == {"ok": True}
    return cast(dict[str, Any], asked)


def code(ack: Any) -> str:
    assert ack["ok"] is False
    return cast(str, ack["error"]["code"])


async def drop(client: Client, server: Running) -> None:
    """As a lost network: until the server knows."""
    namespace = copilot(server)
    noticed = asyncio.Event()
    left = namespace.left

    async def noticing(*arguments: Any) -> None:
        await left(*arguments)
        noticed.set()

    namespace.left = noticing  # type: ignore[method-assign]
    await client.close()
    await asyncio.wait_for(noticed.wait(), 10)


# -- the flow ---------------------------------------------------------------------------------------------------


async def test_a_query_is_answered_by_acks(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    by_ack(client)
    ack = await client.call("query", {"text": "top 1 service by cost", "query_id": "q1"})
    assert ack == {"ok": True, "query_id": "q1", "remaining": 9}
    response = await client.expect("response")
    assert sorted(response) == ["data", "latency_ms", "query_id", "sources", "text"]
    assert response["query_id"] == "q1"
    assert response["data"]["figures"] == [{"label": "EC2", "value": 11}]
    assert response["sources"] == [{"dataset": "aws_costs", "rows": 3}]
    assert "EC2 11" in response["text"]
    assert response["latency_ms"] >= 0
    assert client.payloads("processing") == [
        {"query_id": "q1", "stage": stage} for stage in ("started", "requesting_data", "fetching", "answering")
    ]
    assert client.payloads("error") == []


async def test_the_three_questions_and_their_answers_by_event(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    ack = await client.call("query", {"text": "비용 알려줘"})
    asked = await answering(client, "request_available_data", {"datasets": [COSTS, GCP]})
    assert sorted(asked) == ["query", "requestId"]
    assert asked["query"] == "비용 알려줘"
    asked = await answering(client, "clarification_request", {"answer": "gcp_costs"})
    assert sorted(asked) == ["options", "question", "requestId"]
    assert asked["options"] == ["aws_costs", "gcp_costs"]
    asked = await answering(client, "request_api", {"data": ROWS})
    assert sorted(asked) == ["dataset", "params", "requestId"]
    assert (asked["dataset"], asked["params"]) == ("gcp_costs", {})
    response = await client.expect("response")
    assert response["query_id"] == ack["query_id"]
    assert response["text"] == "gcp_costs 3행 기준 — cost 합계 16.5"
    assert client.payloads("error") == []  # the stock client's empty acks are no answers
    assert len(copilot(server).asks) == 0


async def test_acks_and_events_may_be_mixed(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    client.answer("request_available_data", lambda _: {"datasets": [COSTS]})
    await client.call("query", {"text": "cost last month"})
    await answering(client, "request_api", {"data": ROWS})
    assert (await client.expect("response"))["data"]["rows"] == 3


async def test_request_ids_are_used_once(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    by_ack(client, datasets=(COSTS, GCP))
    for _ in range(2):
        await client.call("query", {"text": "cost"})
        await client.expect("response")
    asked = [payload["requestId"] for question in EVENT_OF for payload in client.payloads(question)]
    assert len(asked) == len(set(asked)) == 6


async def test_datasets_may_say_more_than_is_known_here(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    by_ack(client, datasets=[{**COSTS, "rows": 3, "indexed_at": None, "nested": {"any": [1]}}])
    await client.call("query", {"text": "cost"})
    await client.expect("response")


@pytest.mark.parametrize(
    ("datasets", "rows"), [pytest.param([], ROWS, id="no dataset"), pytest.param([COSTS], [], id="no row")]
)
async def test_nothing_to_answer_from(server: Running, connect: Connect, datasets: Any, rows: Any) -> None:
    client = await connect(server, "/copilot", "alice")
    by_ack(client, datasets=datasets, rows=rows)
    ack = await client.call("query", {"text": "cost"})
    error = await client.expect("error")
    assert (error["query_id"], error["code"]) == (ack["query_id"], "NO_DATA")
    assert error["message"]
    assert client.payloads("response") == []


@pytest.mark.parametrize(
    "payload", [{}, {"text": ""}, {"text": "  "}, {"text": 5}, {"text": "x", "more": 1}, {"text": "x", "query_id": 1}]
)
async def test_malformed_queries(server: Running, connect: Connect, payload: dict[str, Any]) -> None:
    client = await connect(server, "/copilot", "alice")
    assert code(await client.call("query", payload)) == "INVALID_MESSAGE"
    await client.settle()
    assert client.payloads("processing") == []


# -- answers that do not count ----------------------------------------------------------------------------------


async def until(client: Client, question: str) -> dict[str, Any]:
    """A query that has come as far as this question, which is open."""
    await client.call("query", {"text": "cost"})
    for name, _, right, _ in QUESTIONS:
        if name == question:
            break
        await answering(client, name, right)
    return cast(dict[str, Any], await client.expect(question))


async def finish(client: Client, question: str, asked: dict[str, Any]) -> None:
    """The question is still open: the right answer leads to the response."""
    names = [name for name, _, _, _ in QUESTIONS]
    for at, (name, event, right, _) in enumerate(QUESTIONS):
        if at < names.index(question):
            continue
        if at > names.index(question):
            asked = await client.expect(name)
        assert await client.call(event, {"requestId": asked["requestId"], **right}) == {"ok": True}
    assert (await client.expect("response"))["data"]["overall"] == 16.5


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
    assert (len(namespace.asks), len(namespace._service)) == (0, 0)
    assert all(len(each) == 1 for each in server.realtime.manager.callbacks.values())


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


# -- limits -----------------------------------------------------------------------------------------------------


async def test_the_eleventh_query_in_a_minute_is_refused(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    acks = [await client.call("query", {"text": "cost"}) for _ in range(10)]
    assert [ack["remaining"] for ack in acks] == list(range(9, -1, -1))
    refused = await client.call("query", {"text": "cost"})
    assert code(refused) == "RATE_LIMITED"
    assert (refused["error"]["limit"], refused["error"]["remaining"]) == (10, 0)
    assert 0 < refused["error"]["retry_after"] <= 60_000
    await client.settle()
    assert client.payloads("disconnect") == []


@pytest.mark.parametrize(("shared", "remaining"), [("true", [9, 8]), ("false", [9, 9])])
async def test_connections_of_a_user_count_together_or_alone(
    serve: Serve, connect: Connect, shared: str, remaining: list[int]
) -> None:
    server = await serve(SHARE_RATE_LIMIT=shared)
    tabs = [await connect(server, "/copilot", "alice") for _ in range(2)]
    acks = [await tab.call("query", {"text": "cost"}) for tab in tabs]
    assert [ack["remaining"] for ack in acks] == remaining


async def test_users_are_limited_each_alone(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_QUERIES_PER_MINUTE=1)
    for name in ("alice", "bob"):
        client = await connect(server, "/copilot", name)
        assert (await client.call("query", {"text": "cost"}))["remaining"] == 0
        assert code(await client.call("query", {"text": "cost"})) == "RATE_LIMITED"


async def test_answers_are_not_counted_as_queries(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_QUERIES_PER_MINUTE=1)
    client = await connect(server, "/copilot", "alice")
    await finish(client, "request_available_data", await until(client, "request_available_data"))


async def test_a_query_id_that_runs_is_a_conflict(server: Running, connect: Connect) -> None:
    client, tab = [await connect(server, "/copilot", "alice") for _ in range(2)]
    other = await connect(server, "/copilot", "bob")
    assert (await client.call("query", {"text": "cost", "query_id": "q"}))["ok"]
    assert code(await client.call("query", {"text": "cost", "query_id": "q"})) == "CONFLICT"
    assert code(await tab.call("query", {"text": "cost", "query_id": "q"})) == "CONFLICT"
    assert (await other.call("query", {"text": "cost", "query_id": "q"}))["ok"]


async def test_too_many_running_queries_are_refused(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_QUERIES_PER_MINUTE=1000)
    client = await connect(server, "/copilot", "alice")
    acks = [await client.call("query", {"text": "cost"}) for _ in range(21)]
    assert all(ack["ok"] for ack in acks[:20])
    assert code(acks[20]) == "LIMIT_EXCEEDED"


# -- the end of a query -----------------------------------------------------------------------------------------


async def test_cancel(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost", "query_id": "q"})
    asked = await client.expect("request_available_data")
    assert (await client.call("cancel", {"query_id": "q"}))["ok"]
    error = await client.expect("error")
    assert (error["query_id"], error["code"]) == ("q", "CANCELLED")
    late = await client.call("available_data", {"requestId": asked["requestId"], "datasets": [COSTS]})
    assert code(late) == "UNKNOWN_REQUEST"
    assert code(await client.call("cancel", {"query_id": "q"})) == "NOT_FOUND"
    assert (len(copilot(server).asks), len(copilot(server)._service)) == (0, 0)


async def test_cancel_knows_only_ones_own_queries(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost", "query_id": "q"})
    for stranger in (
        await connect(server, "/copilot", "mallory"),
        await connect(server, "/copilot", "alice", tenant="elsewhere"),
    ):
        assert code(await stranger.call("cancel", {"query_id": "q"})) == "NOT_FOUND"
    assert code(await client.call("cancel", {})) == "INVALID_MESSAGE"
    await finish(client, "request_available_data", await client.expect("request_available_data"))


async def test_cancel_in_the_same_breath_as_the_query(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.emit("query", {"text": "cost", "query_id": "q"})
    assert (await client.call("cancel", {"query_id": "q"}))["ok"]
    assert (await client.expect("error"))["code"] == "CANCELLED"
    assert len(copilot(server)._service) == 0


async def test_the_server_stops_while_queries_wait(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost"})
    await client.expect("request_available_data")
    namespace = copilot(server)
    await server.runner.cleanup()
    assert (len(namespace.asks), len(namespace._service)) == (0, 0)
