from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.namespaces.chat import notices
from server.namespaces.chat.models import ChatSession


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Mapping[str, Any]]] = []

    async def emit(self, event: str, payload: Mapping[str, Any], *, room: str) -> None:
        self.heard.append((room, event, payload))


async def test_they_go_to_the_sessions_room() -> None:
    ear = Ear()
    session = ChatSession(session_id="s1", tenant="acme", user_id="alice")
    await notices.tell(ear, session, "session_archived", "olga")  # type: ignore[arg-type]
    ((room, event, payload),) = ear.heard
    assert (room, event) == ("session:4:acme:s1", "system")
    assert payload["timestamp"].endswith("Z")
    assert {name: payload[name] for name in ("event", "session_id", "user_id")} == {
        "event": "session_archived",
        "session_id": "s1",
        "user_id": "olga",
    }
