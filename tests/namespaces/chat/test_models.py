from __future__ import annotations

from datetime import UTC, datetime

from server.namespaces.chat.models import ChatMessage

MOMENT = datetime(2025, 11, 3, 10, 30, 45, 123000, tzinfo=UTC)


def test_an_edited_message_says_when() -> None:
    message = ChatMessage(
        session_id="s1",
        seq=1,
        message_id="m1",
        sender_type="user",
        sender_id="alice",
        message_type="text",
        content="hi",
        is_edited=True,
        edited_at=MOMENT,
        created_at=MOMENT,
    )
    assert message.to_wire()["metadata"] == {"edited_at": "2025-11-03T10:30:45.123Z"}
