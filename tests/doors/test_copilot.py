"""The copilot seed's `client.html`, phase by phase: tokens, callbacks, limits, heartbeat, reconnects, many users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from server.realtime.limits import MemoryCounter
from tests.conftest import Connect, Serve
from tests.doors.hooks import play
from tests.doors.plain import Plain, Said, address, plain
from tests.support.copilot import COSTS, GCP, ROWS, copilot
from tests.support.present import until
from tests.support.running import Running, token

PATH = "/ws/copilot"
QUERY = "Total cost of October 2025"
#: What the page has in its IndexedDB, by the request that asks for it; and the event that answers it.
INDEXED_DB: Mapping[str, tuple[str, dict[str, Any]]] = {
    "request_available_data": ("available_data", {"datasets": [COSTS]}),
    "request_api": ("api_result", {"data": ROWS}),
    "clarification_request": ("human_response", {"answer": "aws_costs"}),
}
TIED = {**INDEXED_DB, "request_available_data": ("available_data", {"datasets": [COSTS, GCP]})}
ANSWERS = ("response", "error")


async def ends(client: Plain, answers: Mapping[str, tuple[str, dict[str, Any]]] = INDEXED_DB) -> Said:
    """Answers what the server asks, until there is a response or an error."""
    while (said := await client.next())["type"] not in ANSWERS:
        if said["type"] in answers:
            kind, answer = answers[said["type"]]
            await client.send(kind, requestId=said["requestId"], **answer)
    return said


async def query(client: Plain, text: str = QUERY) -> Said:
    await client.send("query", text=text)
    return await ends(client)


async def asked(client: Plain, request: str = "request_available_data") -> str:
    """The `requestId` of a query's first request."""
    await client.send("query", text=QUERY)
    return str((await client.expect(request))["requestId"])


def kinds(client: Plain) -> list[str]:
    """In the seed's words: acks and progress are ours."""
    return [said["type"] for said in client.received if said["type"] not in ("connected", "ack", "processing", "pong")]


# -- phases 1 and 2: connecting, with a token ---------------------------------------------------------------------


async def test_connected_query_response_ping_pong(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        connected = await alice.next()
        assert (connected["type"], connected["user_id"]) == ("connected", "alice")
        response = await query(alice)
        assert response.keys() >= {"query_id", "text", "data", "sources", "latency_ms", "timestamp"}
        assert response["type"] == "response"
        assert alice.of("processing")[0]["query_id"] == response["query_id"]
        await alice.send("ping")
        assert (await alice.expect("pong"))["timestamp"].endswith("Z")


async def test_a_token_renewed_for_the_next_connection(serve: Serve) -> None:
    server = await serve()
    async with plain(server, PATH, "alice", lifetime=-3600) as late:
        assert await late.closed() == 4001
    async with plain(server, PATH, "alice") as alice:
        await alice.expect("connected")


async def test_a_token_renewed_without_a_new_connection(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        await alice.send("authenticate", token=token("alice"))
        assert (await alice.expect("ack"))["user_id"] == "alice"
        await alice.send("authenticate", token=token("mallory"))
        assert (await alice.expect("error"))["code"] == "TOKEN_INVALID"


# -- phase 3-1: one-time tokens -----------------------------------------------------------------------------------


async def test_tokens_are_issued(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        tokens = {await asked(alice) for _ in range(3)}
        assert len(tokens) == 3
        assert min(map(len, tokens)) >= 16


async def test_a_token_that_matches(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        await alice.send("available_data", requestId=await asked(alice), datasets=[COSTS])
        assert (await alice.expect("ack", lambda said: said["event"] == "available_data"))["ok"]
        await alice.expect("request_api")


async def test_a_wrong_token(serve: Serve) -> None:
    """Made up, or another user's: nothing changes."""
    server = await serve()
    async with plain(server, PATH, "alice") as alice, plain(server, PATH, "mallory") as mallory:
        request_id = await asked(alice)
        for client, wrong in ((alice, "wrong"), (alice, request_id[:-1]), (mallory, request_id)):
            await client.send("available_data", requestId=wrong, datasets=[GCP])
            assert (await client.expect("error"))["code"] == "UNKNOWN_REQUEST"
        await alice.send("available_data", requestId=request_id, datasets=[COSTS])
        assert (await alice.expect("request_api"))["dataset"] == "aws_costs"


async def test_a_token_used_twice(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        request_id = await asked(alice)
        for datasets in ([COSTS], [GCP]):
            await alice.send("available_data", requestId=request_id, datasets=datasets)
        assert (await alice.expect("error"))["code"] == "UNKNOWN_REQUEST"
        request = await alice.expect("request_api")
        assert request["dataset"] == "aws_costs"
        await alice.send("api_result", requestId=request["requestId"], data=ROWS)
        assert await alice.expect("response")


# -- phase 3-2: callbacks -----------------------------------------------------------------------------------------


async def test_scenario_1_callbacks(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        response = await query(alice)
        assert kinds(alice) == ["request_available_data", "request_api", "response"]
        assert alice.of("request_available_data")[0]["query"] == QUERY
        assert response["data"]["overall"] == 16.5


async def test_scenario_2_clarification(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        await alice.send("query", text=QUERY)
        assert (await ends(alice, TIED))["type"] == "response"
        assert kinds(alice) == ["request_available_data", "clarification_request", "request_api", "response"]
        [question] = alice.of("clarification_request")
        assert question["options"] == ["aws_costs", "gcp_costs"]
        assert question["question"]


async def test_scenario_3_too_late(serve: Serve) -> None:
    async with plain(await serve(COPILOT_DATA_TIMEOUT=0.05), PATH, "alice") as alice:
        request_id = await asked(alice)
        assert (await alice.expect("request_expired"))["requestId"] == request_id
        assert (await alice.expect("error"))["code"] == "CLIENT_TIMEOUT"
        await alice.send("available_data", requestId=request_id, datasets=[COSTS])
        assert (await alice.expect("error"))["code"] == "UNKNOWN_REQUEST"
        assert alice.of("request_api") == []


async def test_scenario_4a_no_answer(serve: Serve) -> None:
    async with plain(await serve(COPILOT_DATA_TIMEOUT=0.05), PATH, "alice") as alice:
        await alice.send("query", text=QUERY)
        error = await ends(alice, {})
        assert (error["type"], error["code"]) == ("error", "CLIENT_TIMEOUT")
        ack = alice.of("ack")[0]
        assert error["query_id"] == ack["query_id"]
        await alice.settle()


async def test_scenario_4b_nothing_to_offer(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        await alice.send("query", text=QUERY)
        error = await ends(alice, {"request_available_data": ("available_data", {"datasets": []})})
        assert (error["type"], error["code"]) == ("error", "NO_DATA")


# -- phase 4-1: rate limits ---------------------------------------------------------------------------------------


async def test_rate_limits(serve: Serve) -> None:
    """One, five in a row, more than ten, and anew."""
    server = await serve()
    async with plain(server, PATH, "alice") as alice:
        assert (await query(alice))["type"] == "response"
        for _ in range(5):
            assert (await query(alice))["type"] == "response"
        assert [ack["remaining"] for ack in acks(alice)] == [9, 8, 7, 6, 5, 4]
        results = [await query(alice) for _ in range(6)]
        assert [result["type"] for result in results] == ["response"] * 4 + ["error"] * 2
        for limited in results[4:]:
            assert (limited["code"], limited["limit"], limited["event"]) == ("RATE_LIMITED", 10, "query")
            assert 0 < limited["retry_after"] <= 60_000
        server.realtime.limits._shared = MemoryCounter()
        assert (await query(alice))["type"] == "response"


# -- phase 4-2: heartbeat -----------------------------------------------------------------------------------------

QUICK = {"WS_PING_INTERVAL": 0.05, "WS_PONG_TIMEOUT": 0.03, "WS_MAX_MISSED_PONGS": 3}


async def test_who_answers_pings_stays(serve: Serve) -> None:
    async with plain(await serve(**QUICK | {"WS_PONG_TIMEOUT": 5}), PATH, "alice") as alice:
        for _ in range(8):  # more than three that are missed
            assert (await alice.expect("ping"))["timestamp"].endswith("Z")
            await alice.send("pong")
        assert (await query(alice))["type"] == "response"


async def test_who_answers_three_no_more_is_closed(serve: Serve) -> None:
    """Whatever else it says, and whatever its library does."""
    async with plain(await serve(**QUICK), PATH, "alice") as alice:
        await alice.settle()
        assert await alice.closed() == 4003
        assert len(alice.of("ping")) == 3
        assert alice.received[-1]["code"] == "HEARTBEAT_LOST"


async def test_the_quick_test_takes_as_long_as_in_the_seed(serve: Serve) -> None:
    """By the schedule, not the clock."""
    engine = (await serve(WS_PING_INTERVAL=5, WS_PONG_TIMEOUT=3, WS_MAX_MISSED_PONGS=3)).realtime.eio
    engine._heartbeat.add("alice", 0.0)
    beats = []
    while (due := engine._heartbeat.next_due()) is not None:
        beats += [(due, beat.value) for beat, _ in engine._heartbeat.due(due)]
    assert beats == [(5.0, "ping"), (13.0, "ping"), (21.0, "ping"), (24.0, "lost")]


# -- phase 4-3: reconnecting --------------------------------------------------------------------------------------


async def test_the_page_reconnects(serve: Serve) -> None:
    """Cut off, it is back after a second; without a server it waits twice as long each time, and stops after ten."""
    server = await serve()
    async with play("copilot.mjs", address(server, PATH, "alice")) as page:
        await page.read_until("connected")
        [session] = server.realtime.eio.sessions.values()
        session.end("transport error")
        await page.read_until("connected 2")
        await server.runner.cleanup()
        assert await page.finish() == 0, page.output
    lines = page.output.splitlines()
    assert lines[:3] == ["connected 1", "retry in 1", "connected 2"]
    assert lines[3:] == [f"retry in {seconds}" for seconds in (1, 2, 4, 8, 16, 30, 30, 30, 30, 30)] + ["gave up"]


async def test_who_comes_back_is_asked_again(serve: Serve) -> None:
    """For the same token, also where it comes back by the other door."""
    server = await serve()
    async with plain(server, PATH, "alice") as alice:
        request_id = await asked(alice)
    async with plain(server, PATH, "alice") as again:
        assert (await again.expect("request_available_data"))["requestId"] == request_id
        await again.send("available_data", requestId=request_id, datasets=[COSTS])
        assert (await ends(again))["data"]["overall"] == 16.5


async def test_who_comes_back_by_socketio_is_asked_again(serve: Serve, connect: Connect) -> None:
    server = await serve()
    async with plain(server, PATH, "alice") as alice:
        request_id = await asked(alice)
    again = await connect(server, "/copilot", "alice")
    assert (await again.expect("request_available_data"))["requestId"] == request_id


# -- phase 5: many users ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [False, True])
async def test_two_tabs_of_one_user(serve: Serve, single: bool) -> None:
    server = await serve(SINGLE_SESSION_PER_USER=single)
    async with plain(server, PATH, "alice") as first:
        await first.expect("connected")
        async with plain(server, PATH, "alice") as second:
            await second.expect("connected")
            if single:
                assert await first.closed() == 4009
                assert first.received[-1]["code"] == "SESSION_REPLACED"
            else:
                assert (await query(first))["type"] == "response"
            assert (await query(second))["type"] == "response"


@pytest.mark.parametrize(("share", "left"), [(True, [9, 8]), (False, [9, 9])])
async def test_the_limit_of_two_tabs(serve: Serve, share: bool, left: list[int]) -> None:
    server = await serve(SHARE_RATE_LIMIT=share)
    async with plain(server, PATH, "alice") as first, plain(server, PATH, "alice") as second:
        for tab in (first, second):
            assert (await query(tab))["type"] == "response"
        assert [acks(tab)[0]["remaining"] for tab in (first, second)] == left


async def test_users_at_once(serve: Serve) -> None:
    """Each has its own answer; one that leaves is nobody else's business."""
    server = await serve()
    users = ["alice", "bob", "carol", "dave"]
    sockets = [plain(server, PATH, user) for user in users]
    clients = [await each.__aenter__() for each in sockets]
    for client in clients:
        await client.expect("connected")
    assert sorted(here(server)) == users
    requests = await asyncio.gather(*(asked(client) for client in clients))
    assert len(set(requests)) == 4
    await sockets[0].__aexit__(None, None, None)
    for number, (client, request_id) in enumerate(zip(clients[1:], requests[1:], strict=True)):
        await client.send("available_data", requestId=request_id, datasets=[COSTS])
        request = await client.expect("request_api")
        rows = [{"date": "2025-10-01", "service": "EC2", "cost": number}]
        await client.send("api_result", requestId=request["requestId"], data=rows)
    for number, client in enumerate(clients[1:]):
        assert (await client.expect("response"))["data"]["overall"] == number
        assert len(client.of("request_available_data")) == 1
    await until(lambda: sorted(here(server)) == users[1:])
    for each in sockets[1:]:
        await each.__aexit__(None, None, None)


def acks(client: Plain) -> list[Said]:
    return [ack for ack in client.of("ack") if ack["event"] == "query"]


def here(server: Running) -> list[str]:
    return [each.user_id for each in copilot(server).connections]


async def test_answers_of_the_wrong_shape_may_be_mended(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        request_id = await asked(alice)
        await alice.send("available_data", requestId=request_id, datasets="aws_costs")
        error = await alice.expect("error")
        assert (error["code"], error["event"]) == ("INVALID_MESSAGE", "available_data")
        await alice.say(json.dumps({"type": "available_data", "requestId": request_id, "datasets": [COSTS]}))
        await alice.expect("request_api")
