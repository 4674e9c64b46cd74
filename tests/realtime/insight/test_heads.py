from __future__ import annotations

import orjson
import pytest
from socketio import packet as wire

from server.realtime.engine import frames
from server.realtime.insight.heads import HEAD_CHARS, name_of, offset_of, seq_of
from server.realtime.packets import encode, with_offset


def head(namespace: str, event: str, payload: object) -> str:
    text = frames.message(*encode(wire.EVENT, namespace, [event, payload])).parts[0]
    assert isinstance(text, str)
    return text[:HEAD_CHARS]


@pytest.mark.parametrize("namespace", ["/", "/chat"])
def test_name_and_number(namespace: str) -> None:
    text = head(namespace, "message", {"session_id": "s" * 100, "seq": 17, "content": "x" * 1000})
    assert (name_of(text), seq_of(text)) == ("message", 17)


def test_of_a_plain_websocket_only_the_number() -> None:
    assert seq_of('{"type":"tick","channel":"ticks:A","seq":5}') == 5


def test_what_somebody_wrote_is_no_number() -> None:
    assert seq_of(head("/chat", "message", {"content": '"seq":99,'})) is None
    assert seq_of(orjson.dumps({"a": {"b": '\\"seq":1,'}}).decode()) is None


@pytest.mark.parametrize("offset", ["1763781234567890", "4711-0123456789-812"])
def test_offset(offset: str) -> None:
    [text] = with_offset(encode(wire.EVENT, "/x", ["said", {"a": 1}]), offset)
    assert isinstance(text, str)
    assert offset_of(text[-60:]) == offset


def test_no_offset() -> None:
    assert offset_of('["said","12-34"]') is None
    assert offset_of("") is None
