"""An agent's answer as it comes, over SSE: the events that the session's room is told, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from server.errors import HandlerTimeout
from server.http.api import Stream, endpoint
from server.identity import Identity
from server.namespaces.chat import bodies
from server.namespaces.chat.conversation import Conversation

PATIENCE_SECONDS: Final = 120.0  # from one event to the next; other questions of the session may be answered before


class Hearing:
    """A listener (`replies.Listener`) that keeps what it is told until it is read; an answer's length is bounded."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    def __call__(self, event: str, payload: Mapping[str, object]) -> None:
        self._told.put_nowait({"type": event, **payload})

    async def events(self, patience: float = PATIENCE_SECONDS) -> AsyncGenerator[Mapping[str, object], None]:
        """To the end of the answer. Raises HandlerTimeout when nothing is told for so many seconds."""
        while True:
            try:
                async with asyncio.timeout(patience):
                    event = await self._told.get()
            except TimeoutError:
                raise HandlerTimeout("The agent took too long") from None
            yield event
            if event["type"] == "stream_end":
                return


class StreamRoutes:
    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @endpoint(
        "POST",
        "/api/chat/sessions/{session_id}/messages/stream",
        body=bodies.StreamedMessage,
        rate="messages",
    )
    async def stream(
        self, identity: Identity, session_id: str, content: str, metadata: Mapping[str, object] | None, stream: bool
    ) -> Stream:
        """Who leaves stops nothing: the answer goes on in the room."""
        hearing = Hearing()
        await self._conversation.send(identity, session_id, content, metadata=metadata, listener=hearing)
        return hearing.events()
