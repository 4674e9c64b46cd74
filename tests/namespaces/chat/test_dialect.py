from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.namespaces.chat.dialect import BANK, CHAT
from server.realtime.engine.dialect import Dialect

MESSAGE = {
    "message_id": "m1",
    "session_id": "s1",
    "seq": 1,
    "content": "안녕",
    "created_at": "2025-10-29T10:30:05.000Z",
}
OF = {"message_id": "m1", "session_id": "s1"}


def told(dialect: Dialect, event: str, payload: dict[str, Any]) -> Any:
    return orjson.loads(dialect.told(f'42/chat,["{event}",{orjson.dumps(payload).decode()}]') or "null")


@pytest.mark.parametrize("dialect", [CHAT, BANK])
def test_the_time_of_a_message(dialect: Dialect) -> None:
    assert told(dialect, "message", MESSAGE).items() >= (MESSAGE | {"timestamp": MESSAGE["created_at"]}).items()


def test_the_banks_words() -> None:
    assert BANK.heard("message", {"user_message": "안녕"}) == ("message", {"content": "안녕"})
    assert told(BANK, "message", MESSAGE)["user_message"] == "안녕"
    assert told(BANK, "system", {"event": "user_left"})["type"] == "status"


def test_a_whole_answer() -> None:
    verdict = {"intent": "INFO_REQ", "suggested_action": "CONTINUE", "source_documents": [{"title": "a"}]}
    end = {**OF, "content": "연 3.5%", "seq": 2, "latency_ms": 5, "tokens_used": None, **verdict}
    assert told(BANK, "stream_start", OF)["type"] == "processing"
    assert told(BANK, "stream_chunk", {**OF, "content": "연", "index": 0}) is None
    response = told(BANK, "stream_end", end)
    assert response.pop("timestamp")
    assert response == {
        "type": "response",
        **OF,
        "seq": 2,
        "latency_ms": 5,
        "data": {"ai_message": "연 3.5%", **verdict},
    }


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ({"error": {"code": "AGENT_UNAVAILABLE", "message": "away"}}, "AGENT_UNAVAILABLE"),
        ({"cancelled": True, "content": "half"}, "CONFLICT"),
    ],
)
def test_an_answer_that_is_none(outcome: dict[str, Any], code: str) -> None:
    error = told(BANK, "stream_end", {**OF, **outcome})
    assert (error["type"], error["code"], error["message_id"]) == ("error", code, "m1")


def test_coming_in() -> None:
    status = orjson.loads(BANK.reply("join", {}, {"ok": True, "messages": [MESSAGE], "last_seq": 1}) or "null")
    assert (status["type"], status["status"], status["messages"]) == ("status", "connected", [MESSAGE])
    refused = orjson.loads(BANK.reply("join", {}, {"ok": False, "error": {"code": "FORBIDDEN"}}) or "null")
    assert (refused["type"], refused["code"]) == ("error", "FORBIDDEN")
    assert BANK.told('42/chat,["connected",{}]') is None
    assert BANK.reply("message", {}, {"ok": True}) is None
