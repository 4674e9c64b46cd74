"""An agent's answer over SSE, beside the room that hears the same."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.errors import HandlerTimeout
from server.namespaces.chat.routes_stream import Hearing
from tests.conftest import Connect, Serve
from tests.support.client import PATIENCE, Client
from tests.support.rest import Rest

STREAM = "/api/chat/sessions/s1/messages/stream"
MESSAGES = "/api/chat/sessions/s1/messages"


def agents(tmp_path: Path, backend: str) -> dict[str, str]:
    """Settings for a server whose one agent has that backend."""
    shutil.copytree("config", tmp_path / "config")
    (tmp_path / "config" / "agents.toml").write_text(f'[[agents]]\nid = 1\nname = "Test"\nbackend = "{backend}"\n')
    return {"CONFIG_DIR": str(tmp_path / "config")}


async def in_room(serve: Serve, connect: Connect, **environ: object) -> tuple[Client, Rest]:
    server = await serve(**environ)
    client = await connect(server, "/chat", "alice")
    await client.call("join", {"session_id": "s1"})
    return client, Rest(server.url)


async def heard(alice: Rest, content: str = "a") -> list[Any]:
    async with asyncio.timeout(PATIENCE), alice.events(STREAM, {"content": content, "stream": True}) as events:
        return [event async for event in events]


async def test_the_reader_hears_what_the_room_hears(
    serve: Serve, connect: Connect, database_url: str, tmp_path: Path
) -> None:
    settings = agents(tmp_path, "tests.support.agents.Echo")
    room, alice = await in_room(serve, connect, DATABASE_URL=database_url, STREAM_CHUNK_SIZE=3, **settings)
    events = await heard(alice, "답변을 |스트리밍으로 |전송합니다.")
    await room.expect("stream_end")
    assert events == [
        {"type": event, **payload} for event, payload in room.received if str(event).startswith("stream_")
    ]
    start, *chunks, end = events
    assert (start["type"], start["sender_type"], end["type"]) == ("stream_start", "agent", "stream_end")
    assert [each["index"] for each in chunks] == list(range(len(chunks)))
    assert "".join(each["content"] for each in chunks) == "답변을 스트리밍으로 전송합니다."
    assert end.keys() >= {"message_id", "tokens_used", "latency_ms", "seq"}
    asked, answered = (await alice.get(MESSAGES)).body["messages"]
    assert (asked["sender_type"], asked["content"]) == ("user", "답변을 |스트리밍으로 |전송합니다.")
    assert (answered["message_id"], answered["seq"]) == (start["message_id"], end["seq"])
    assert room.payloads("message")[0] == asked


async def test_who_leaves_stops_nothing(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    settings = agents(tmp_path, "tests.support.agents.Echo")
    room, alice = await in_room(serve, connect, STREAM_CHUNK_SIZE=1, STREAM_DELAY_MS=5, **settings)
    async with alice.events(STREAM, {"content": "한 글자씩 전송됩니다."}) as events:
        assert (await anext(events))["type"] == "stream_start"
    end = await room.expect("stream_end")
    assert not end.keys() & {"error", "cancelled"}
    assert (await alice.get(MESSAGES)).body["messages"][1]["content"] == "한 글자씩 전송됩니다."


async def test_an_agent_that_dies(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    _, alice = await in_room(serve, connect, **agents(tmp_path, "tests.support.agents.Dying"))
    end = (await heard(alice))[-1]
    assert (end["type"], "error" in end) == ("stream_end", True)


async def test_where_no_agent_answers_nothing_is_said(serve: Serve, connect: Connect) -> None:
    _, alice = await in_room(serve, connect, CHAT_DEFAULT_AGENT="")
    refused = await alice.post(STREAM, {"content": "a"})
    assert refused.error == (409, "CONFLICT")
    assert (await alice.get(MESSAGES)).body["total"] == 0


async def test_an_operator_is_who_answers(serve: Serve, connect: Connect) -> None:
    _, alice = await in_room(serve, connect)
    olga = Rest(alice.url, "olga", roles=("operator",))
    assert (await olga.post(STREAM, {"content": "a"})).error == (409, "CONFLICT")
    await olga.post("/api/chat/sessions/s1/handover/accept")
    assert (await alice.post(STREAM, {"content": "a"})).error == (409, "CONFLICT")


async def test_an_operator_who_takes_over_ends_the_stream(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    _, alice = await in_room(serve, connect, **agents(tmp_path, "tests.support.agents.Stuck"))
    olga = Rest(alice.url, "olga", roles=("operator",))
    async with asyncio.timeout(PATIENCE), alice.events(STREAM, {"content": "a"}) as events:
        assert (await anext(events))["type"] == "stream_start"
        await olga.post("/api/chat/sessions/s1/handover/accept")
        end = [event async for event in events][-1]
    assert (end["type"], end["cancelled"]) == ("stream_end", True)


async def test_bad_bodies(serve: Serve, connect: Connect) -> None:
    _, alice = await in_room(serve, connect)
    for body in ({}, {"content": "a", "stream": False}, {"content": "\0"}, {"content": "a", "message_type": "text"}):
        assert (await alice.post(STREAM, body)).error == (422, "INVALID_MESSAGE")


async def test_a_server_that_stops_waits_for_no_stream(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Stuck"))
    client = await connect(server, "/chat", "alice")
    await client.call("join", {"session_id": "s1"})
    async with Rest(server.url).events(STREAM, {"content": "a"}) as events:
        assert (await anext(events))["type"] == "stream_start"
        async with asyncio.timeout(PATIENCE):
            await server.runner.cleanup()


async def test_a_page_from_elsewhere_may_read_it_where_that_is_allowed(serve: Serve, connect: Connect) -> None:
    origin = {"Origin": "https://app.example"}
    _, alice = await in_room(serve, connect, CORS_ORIGINS="https://app.example")
    async with alice.request("POST", STREAM, json={"content": "a"}, headers=origin) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    reply = await alice.call("GET", MESSAGES, headers=origin)
    assert reply.headers["Vary"] == "Authorization, Origin"
    assert "ETag" in reply.headers["Access-Control-Expose-Headers"]
    asks = origin | {"Access-Control-Request-Method": "PATCH"}
    assert (
        "If-None-Match" in (await alice.call("OPTIONS", MESSAGES, headers=asks)).headers["Access-Control-Allow-Headers"]
    )


# -- a listener -----------------------------------------------------------------------------------------------------


async def test_nothing_is_lost_of_what_is_told_before_it_is_read() -> None:
    hearing = Hearing()
    hearing("stream_start", {"message_id": "m1"})
    hearing("stream_end", {"message_id": "m1"})
    hearing("stream_start", {"message_id": "m2"})
    assert [event async for event in hearing.events()] == [
        {"type": "stream_start", "message_id": "m1"},
        {"type": "stream_end", "message_id": "m1"},
    ]


async def test_an_answer_that_never_comes_is_given_up() -> None:
    with pytest.raises(HandlerTimeout):
        await anext(Hearing().events(patience=0))
