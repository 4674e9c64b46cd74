from __future__ import annotations

from pathlib import Path

import pytest

from server.namespaces.trading import catalogue, told
from server.namespaces.trading.channels import ChannelLog
from server.namespaces.trading.schemas import RESERVED_TYPES
from server.realtime.told import ANY
from tests.support.process import ROOT

CLASSES = catalogue.load(Path(ROOT, "config", catalogue.FILE), ())


@pytest.mark.parametrize("channel", ["general", "ticks:A", "user:alice", "alerts"])
@pytest.mark.parametrize("data", [{"a": 1}, None, 5, "text", [1]])
def test_whatever_is_published(channel: str, data: object) -> None:
    message = ChannelLog(None, channel, CLASSES.find(channel)).append("tick", {"data": data}, 0.0)
    assert told.Published().validate(message.payload) == {}
    assert told.Published().validate({**message.payload, "conflated": 3}) == {}
    assert told.Kept().validate(message.to_wire()) == {}


def test_a_chat_message_has_no_data() -> None:
    body = {"client_id": "c", "user_id": "a", "message": "hi"}
    message = ChannelLog(None, "general", CLASSES.find("general")).append("chat_message", body, 0.0)
    assert told.ChatMessage().validate(message.payload) == {}
    assert told.Kept().validate(message.to_wire()) == {}
    assert told.Published().validate(message.payload)


def test_nobody_publishes_what_is_declared() -> None:
    assert set(told.TELLS) - {ANY} <= RESERVED_TYPES
