from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from server.namespaces.copilot.service import MAX_RUNNING_PER_USER
from tests.conftest import Connect, Serve
from tests.support.copilot import (
    COSTS,
    EVENT_OF,
    GCP,
    ROWS,
    answering,
    by_ack,
    code,
    copilot,
    finish,
    until,
)
from tests.support.running import Running


@pytest_asyncio.fixture
async def server(serve: Serve) -> Running:
    return await serve()


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
    assert asked["dataset"] == "gcp_costs"
    assert isinstance(asked["params"], dict)
    response = await client.expect("response")
    assert response["query_id"] == ack["query_id"]
    assert response["text"] == "gcp_costs 3행 기준 — cost 합계 16.5"
    assert client.payloads("error") == []  # the stock client's empty acks are no answers
    assert len(copilot(server).asks) == 0


async def test_acks_and_events_may_be_mixed(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    client.answer("request_available_data", lambda _: {"datasets": [COSTS]})
    await client.call("query", {"text": "cost"})
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
    acks = [await client.call("query", {"text": "cost"}) for _ in range(MAX_RUNNING_PER_USER + 1)]
    assert all(ack["ok"] for ack in acks[:-1])
    assert code(acks[-1]) == "LIMIT_EXCEEDED"


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
    assert (len(copilot(server).asks), len(copilot(server).service)) == (0, 0)


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
    assert len(copilot(server).service) == 0


async def test_the_server_stops_while_queries_wait(server: Running, connect: Connect) -> None:
    client = await connect(server, "/copilot", "alice")
    await client.call("query", {"text": "cost"})
    await client.expect("request_available_data")
    namespace = copilot(server)
    await server.runner.cleanup()
    assert (len(namespace.asks), len(namespace.service)) == (0, 0)
