from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from server.realtime.engine.dialect import MOST_ECHOED, Dialect, Fields, Message

NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def shouted(payload: Fields) -> Message | None:
    return ("SHOUT", {"text": payload["text"].upper()}) if payload.get("text") else None


def answered(said: Fields, result: Fields) -> Message | None:
    return ("answer", {"to": said["text"], "ok": result["ok"]}) if said else None


SPOKEN = Dialect(
    events={"say": "message"},
    fields={"words": "content"},
    types={"system": "status", "shout": shouted},
    replies={"join": "joined", "message": None, "shout": answered},
)


def told(packet: str, dialect: Dialect = SPOKEN) -> Any:
    text = dialect.told(packet)
    return None if text is None else orjson.loads(text)


def replied(event: str, result: Fields, said: Fields | None = None) -> Any:
    text = SPOKEN.reply(event, said or {}, result)
    return None if text is None else orjson.loads(text)


@pytest.mark.parametrize(
    "packet", ["", "2", "3", "0{}", "40/chat,", "41", '43/chat,1[{"ok":true}]', '45-["a"]', "42", "42x"]
)
def test_what_is_no_event_is_not_told(packet: str) -> None:
    assert told(packet) is None


@pytest.mark.parametrize("head", ["42", "42/chat,", "425", "42/chat,17", "42/a[b,3"])
def test_an_event_in_any_packet(head: str) -> None:
    assert told(head + '["typing",{"timestamp":"t","is_typing":true}]') == {
        "type": "typing",
        "timestamp": "t",
        "is_typing": True,
    }


@pytest.mark.parametrize("arguments", ["", ",5", ',"text"', ",[1]", ",null"])
def test_an_event_without_fields(arguments: str) -> None:
    message = told(f'42["empty"{arguments}]')
    assert NOW.fullmatch(message.pop("timestamp"))
    assert message == {"type": "empty"}


def test_a_time_where_there_is_none() -> None:
    assert NOW.fullmatch(told('42["a",{}]')["timestamp"])
    assert told('42["a",{"timestamp":"then"}]')["timestamp"] == "then"


def test_no_payload_passes_for_another_type() -> None:
    assert told('42["file",{"type":"pong"}]')["type"] == "file"
    assert replied("upload", {"ok": True, "type": "error"})["type"] == "ack"


def test_its_names() -> None:
    assert told('42["system",{"event":"user_joined"}]')["type"] == "status"
    assert told('42["shout",{"text":"hey"}]') | {"timestamp": ""} == {"type": "SHOUT", "text": "HEY", "timestamp": ""}
    assert told('42["shout",{}]') is None
    assert SPOKEN.heard("say", {"words": "a", "b": 1}) == ("message", {"content": "a", "b": 1})
    assert SPOKEN.heard("typing", {}) == ("typing", {})
    assert orjson.loads(SPOKEN.say("shout", {"a": 1}))["type"] == "shout"


def test_acks() -> None:
    assert replied("other", {"ok": True, "seq": 1, "timestamp": "t"}) == {
        "type": "ack",
        "event": "other",
        "ok": True,
        "seq": 1,
        "timestamp": "t",
    }
    assert replied("join", {"ok": True, "seq": 1, "timestamp": "t"}) == {"type": "joined", "seq": 1, "timestamp": "t"}
    assert replied("message", {"ok": True}) is None
    assert replied("ping", {"ok": True, "timestamp": "t"}) is None
    assert replied("shout", {"ok": False}, {"text": "a"})["type"] == "answer"
    assert replied("shout", {"ok": False}) is None


@pytest.mark.parametrize("event", ["join", "message", "ping", "other"])
def test_a_failure_is_an_error_whatever_the_reply(event: str) -> None:
    failed = replied(event, {"ok": False, "error": {"code": "FORBIDDEN", "message": "no", "retry_after": 5}})
    assert NOW.fullmatch(failed.pop("timestamp"))
    assert failed == {"type": "error", "event": event, "code": "FORBIDDEN", "message": "no", "retry_after": 5}


def test_a_long_name_is_not_echoed() -> None:
    for result in ({"ok": True}, {"ok": False, "error": {"code": "UNKNOWN_EVENT"}}):
        assert len(replied("x" * 60_000, result)["event"]) == MOST_ECHOED
