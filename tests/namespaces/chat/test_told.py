from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.namespaces.chat import told
from server.namespaces.chat.agents.analysis import analyze
from server.namespaces.chat.agents.backend import Turn
from server.namespaces.chat.files import Files
from server.namespaces.chat.models import MESSAGE_TYPES, SENDER_TYPES, ChatFile, ChatMessage

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("sender_type", SENDER_TYPES)
@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
def test_messages_of_every_kind(sender_type: str, message_type: str) -> None:
    message = ChatMessage(
        message_id="m", session_id="s", seq=1, sender_type=sender_type, sender_id="a", message_type=message_type,
        content=None, details={"deleted_at": "x"}, tokens_used=1, latency_ms=2, is_edited=True, created_at=NOW,
    )  # fmt: skip
    assert told.Message().validate(message.to_wire()) == {}


def test_what_operators_are_told() -> None:
    asked = {"reason": "", "requested_by": None, "requested_at": "2026-11-22T00:00:00.000Z"}
    analysis = analyze([Turn("user", "이체 한도가 얼마예요?")]).to_wire()
    assert told.Handover().validate({"session_id": "s", "user_id": "a", **analysis, **asked}) == {}


def test_a_file() -> None:
    file = ChatFile(file_id="f", file_name="a.png", file_type="image/png", file_size=5, file_url="/files/f")
    assert told.Uploaded().validate({"ok": True, **Files.describe(file)}) == {}


def test_both_kinds_of_notification() -> None:
    assert told.Notification().validate({"event": "invited", "session_id": "s", "user_id": "a"}) == {}
    assert set(told.Notification().validate({"event": "other", "session_id": "s"})) == {"event"}
