"""The bank seed's clients: its script, the logic of its `websocket.ts`, and HTTP where its WebSocket is blocked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.conftest import Connect, Serve
from tests.doors.hooks import play
from tests.doors.plain import Plain, address, plain
from tests.namespaces.chat.test_routes_stream import agents
from tests.realtime.inherited.wire import wire
from tests.support.proxy import Proxy
from tests.support.rest import Rest
from tests.support.running import token

PATH = "/api/v1/chat/ws/test_001"
QUESTION = "대출 금리가 얼마인가요?"
MESSAGE = "/api/v1/chat/message"
DATA = ["ai_message", "intent", "suggested_action", "source_documents"]


async def seeds_script(uri: str, user_message: str) -> list[Any]:
    """`python test_websocket.py test_001 "…"`, of which the seed has the messages only."""
    received = []
    async with websockets.connect(uri) as websocket:
        await websocket.send(json.dumps({"type": "message", "user_message": user_message}))
        async for message in websocket:
            received.append(json.loads(message))
            if received[-1]["type"] in ("response", "error"):
                break
    return received


@pytest.mark.parametrize("anonymous", [False, True])
async def test_the_seeds_script(serve: Serve, anonymous: bool) -> None:
    """Where no tokens are asked for it needs none."""
    server = await serve(WS_REQUIRE_AUTH=not anonymous)
    received = await seeds_script(address(server, PATH, None if anonymous else "alice"), QUESTION)
    assert [each["type"] for each in received] == ["status", "message", "processing", "response"]
    data = received[-1]["data"]
    assert list(data) == DATA
    assert "3.5%" in data["ai_message"]
    assert (data["intent"], data["suggested_action"]) == ("INFO_REQ", "CONTINUE")
    assert data["source_documents"]


async def test_both_doors_answer_alike(serve: Serve) -> None:
    server = await serve()
    async with plain(server, PATH, "alice") as alice:
        by_websocket = await ask(alice, QUESTION)
    by_http = (await Rest(server.url).post(MESSAGE, {"session_id": "test_002", "user_message": QUESTION})).body
    assert by_websocket == {name: by_http[name] for name in DATA}


async def test_everybody_in_the_session_hears_it(serve: Serve, connect: Connect) -> None:
    """Who takes chunks has chunks."""
    server = await serve()
    operator = await connect(server, "/chat", "olga", roles=("operator",))
    async with plain(server, PATH, "alice") as alice, plain(server, "/ws/chat/test_001", "alice") as streamed:
        for client, first in ((alice, "status"), (streamed, "ack")):
            await client.expect(first)
        data = await ask(alice, QUESTION)
        assert (await alice.expect("message"))["user_message"] == QUESTION
        end = await streamed.expect("stream_end")
        assert end["content"] == "".join(each["content"] for each in streamed.of("stream_chunk")) == data["ai_message"]
        assert alice.of("stream_chunk") == []

        await operator.call("join", {"session_id": "test_001"})
        assert (await alice.expect("status", lambda said: said.get("event") == "user_joined"))["user_id"] == "olga"
        await operator.call("message", {"session_id": "test_001", "content": "무엇을 도와드릴까요?"})
        said = await alice.expect("message", lambda said: said["sender_id"] == "olga")
        assert said["user_message"] == "무엇을 도와드릴까요?"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "message"}, "INVALID_MESSAGE"),
    ({"type": "message", "user_message": ""}, "INVALID_MESSAGE"),
    ({"type": "message", "user_message": 5}, "INVALID_MESSAGE"),
    ({"type": "question", "user_message": "?"}, "UNKNOWN_EVENT"),
    ({"user_message": "?"}, "INVALID_MESSAGE"),
]


async def test_errors(serve: Serve) -> None:
    async with plain(await serve(), PATH, "alice") as alice:
        for message, code in WRONG:
            await alice.say(json.dumps(message))
            error = await alice.expect("error")
            assert (error["code"], bool(error["message"])) == (code, True)
        assert await ask(alice, QUESTION)
        assert len(alice.of("error")) == len(WRONG)


async def test_an_agent_that_cannot_answer(serve: Serve, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Dying"))
    async with plain(server, PATH, "alice") as alice:
        await alice.send("message", user_message=QUESTION)
        assert (await alice.expect("error"))["code"]
        assert alice.of("response") == []


async def test_an_answer_that_somebody_stopped(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Stuck"))
    phone = await connect(server, "/chat", "alice")
    async with plain(server, PATH, "alice") as alice:
        await alice.send("message", user_message=QUESTION)
        processing = await alice.expect("processing")
        await phone.call("stream_cancel", {"message_id": processing["message_id"], "session_id": "test_001"})
        assert (await alice.expect("error"))["code"] == "CONFLICT"


async def test_pings_of_either_side(serve: Serve) -> None:
    async with plain(await serve(WS_PING_INTERVAL=0.05, WS_PONG_TIMEOUT=5), PATH, "alice") as alice:
        assert (await alice.expect("ping"))["timestamp"].endswith("Z")
        await alice.send("pong")
        await alice.expect("ping")
        await alice.send("ping")
        await alice.expect("pong")


async def test_who_only_answers_the_pings_of_its_library_stays(serve: Serve) -> None:
    """The next ping in time is the next after an answer."""
    async with plain(await serve(WS_PING_INTERVAL=0.05, WS_PONG_TIMEOUT=60), PATH, "alice") as alice:
        for _ in range(5):
            await alice.expect("ping")


async def test_who_answers_no_pings_is_closed(serve: Serve) -> None:
    server = await serve(WS_PING_INTERVAL=0.05, WS_PONG_TIMEOUT=0.03, WS_MAX_MISSED_PONGS=3)
    async with wire(server.url, f"{PATH}?token={token('alice')}", unread_bytes=1_000_000) as silent:
        assert await silent.ended() == 4003


async def test_websocket_ts(serve: Serve) -> None:
    """It reconnects, answers by HTTP once its WebSocket is blocked, and finds all of it when that is back."""
    server = await serve()
    port = server.runner.addresses[0][1]
    proxy = await Proxy.start("127.0.0.1", port)
    try:
        websocket = address(server, PATH, "alice").replace(f":{port}", f":{proxy.port}")
        async with play("bank.mjs", websocket, server.url + MESSAGE, token("alice")) as page:
            await page.read_until("answered by 🟢")
            proxy.refuse()
            await proxy.cut()
            await page.read_until("answered by 🔵")
            await proxy.accept()
            assert await page.finish() == 0, page.output
    finally:
        await proxy.close()
    lights = [line.split()[1] for line in page.output.splitlines() if line.startswith("light")]
    assert lights == ["🟡", "🟢", "🟡", "🔵", "🟡", "🟢"]
    assert page.output.count("retry") == 5
    [history] = [json.loads(line[8:]) for line in page.output.splitlines() if line.startswith("history")]
    assert history == ["user", "agent", "user", "agent"]


async def ask(client: Plain, question: str) -> dict[str, Any]:
    await client.send("message", user_message=question)
    data: dict[str, Any] = (await client.expect("response"))["data"]
    return data
