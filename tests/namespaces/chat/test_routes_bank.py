"""The bank dialect over HTTP, as its seed's own clients speak it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.errors import AtriumError
from server.namespaces.chat.routes_bank import whole
from server.namespaces.chat.routes_stream import Hearing
from tests.conftest import Connect, Serve
from tests.namespaces.chat.test_routes_stream import agents
from tests.support.client import PATIENCE
from tests.support.rest import Rest

MESSAGE = "/api/v1/chat/message"
ANALYZE = "/api/v1/handover/analyze"
QUESTION = {"session_id": "test_001", "user_message": "대출 금리가 얼마인가요?"}
SESSION = "/api/chat/sessions/test_001"


async def test_a_question_and_its_answer(serve: Serve, database_url: str) -> None:
    """The session is one that nobody has made before."""
    alice = Rest((await serve(DATABASE_URL=database_url)).url)
    reply = await alice.post(MESSAGE, QUESTION)
    assert reply.status == 200
    remaining = reply.body.pop("remaining")
    assert list(reply.body) == ["ai_message", "intent", "suggested_action", "source_documents"]
    assert "3.5%" in reply.body["ai_message"]
    assert (reply.body["intent"], reply.body["suggested_action"]) == ("INFO_REQ", "CONTINUE")
    assert reply.body["source_documents"]
    assert (await alice.post(MESSAGE, QUESTION)).body["remaining"] == remaining - 1
    asked, answered, *_ = (await alice.get(SESSION + "/messages")).body["messages"]
    assert (asked["content"], answered["content"]) == (QUESTION["user_message"], reply.body["ai_message"])


async def test_the_room_hears_it_all(serve: Serve, connect: Connect) -> None:
    server = await serve()
    room = await connect(server, "/chat", "alice")
    await room.call("join", {"session_id": "test_001"})
    reply = await Rest(server.url).post(MESSAGE, QUESTION)
    assert (await room.expect("message"))["content"] == QUESTION["user_message"]
    await room.expect("stream_end")
    assert "".join(each["content"] for each in room.payloads("stream_chunk")) == reply.body["ai_message"]


@pytest.mark.parametrize("backend", ["Dying", "Mute"])
async def test_an_agent_that_cannot_answer(serve: Serve, tmp_path: Path, backend: str) -> None:
    alice = Rest((await serve(**agents(tmp_path, f"tests.support.agents.{backend}"))).url)
    reply = await alice.post(MESSAGE, QUESTION)
    assert reply.error == (503, "AGENT_UNAVAILABLE")
    assert "Traceback" not in str(reply.body)


async def test_people_only(serve: Serve) -> None:
    alice = Rest((await serve(CHAT_DEFAULT_AGENT="")).url)
    assert (await alice.post(MESSAGE, QUESTION)).error == (409, "CONFLICT")


async def test_no_sessions_but_those_that_were_made(serve: Serve) -> None:
    alice = Rest((await serve(CHAT_AUTO_CREATE_SESSIONS="false")).url)
    assert (await alice.post(MESSAGE, QUESTION)).error == (403, "FORBIDDEN")


async def test_an_answer_that_somebody_stopped(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = await serve(**agents(tmp_path, "tests.support.agents.Stuck"))
    room, alice = await connect(server, "/chat", "alice"), Rest(server.url)
    await room.call("join", {"session_id": "test_001"})
    asked = asyncio.create_task(alice.post(MESSAGE, QUESTION))
    start = await room.expect("stream_start")
    await room.call("stream_cancel", {"message_id": start["message_id"], "session_id": "test_001"})
    async with asyncio.timeout(PATIENCE):
        assert (await asked).error == (409, "CONFLICT")


async def test_a_summary_for_who_takes_over(serve: Serve) -> None:
    alice = Rest((await serve()).url)
    await alice.post(MESSAGE, QUESTION)
    await alice.post(MESSAGE, {"session_id": "test_001", "user_message": "카드를 분실했어요. 상담원 연결해 주세요!"})
    reply = await alice.post(ANALYZE, {"session_id": "test_001"})
    assert reply.status == 200
    assert list(reply.body) == ["session_id", "intent", "urgency", "summary", "keywords", "suggested_action"]
    assert (reply.body["session_id"], reply.body["suggested_action"]) == ("test_001", "HANDOVER")
    assert reply.body["summary"]


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        ({"error": {"code": "TIMEOUT", "message": "The agent took too long"}}, 504, "TIMEOUT"),
        ({"error": {"code": "LIMIT_EXCEEDED", "message": "Too many"}}, 429, "LIMIT_EXCEEDED"),
        ({"error": {"code": "GOING_AWAY", "message": "Soon"}}, 503, "GOING_AWAY"),
        ({"error": {"code": "INTERNAL", "message": "Oh", "error_id": "1"}}, 503, "AGENT_UNAVAILABLE"),
        ({"cancelled": True}, 409, "CONFLICT"),
    ],
)
async def test_why_there_is_no_answer(end: Mapping[str, object], status: int, code: str) -> None:
    hearing = Hearing()
    hearing("stream_end", end)
    with pytest.raises(AtriumError) as error:
        await whole(hearing)
    assert (error.value.http_status, error.value.code) == (status, code)
