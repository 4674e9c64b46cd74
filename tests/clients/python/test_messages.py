from __future__ import annotations

from clients.python.messages import Message


def test_what_the_wire_does_not_say() -> None:
    message = Message.from_wire({"session_id": "s", "seq": 3, "message_id": "m", "content": None, "another": 1})
    assert (message.seq, message.content, message.sender_type, message.metadata) == (3, "", "agent", {})
    assert message.raw["another"] == 1
