"""The bank dialect over HTTP: a question and the whole answer in one exchange. Its WebSocket is another door's."""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import AgentUnavailable, AtriumError, Conflict, GoingAway, HandlerTimeout, LimitExceeded
from server.http.api import endpoint
from server.identity import Identity
from server.namespaces.chat import bodies
from server.namespaces.chat.conversation import Conversation
from server.namespaces.chat.directory import Directory
from server.namespaces.chat.handover import Handover
from server.namespaces.chat.routes_stream import Hearing

ANSWER_SECONDS = 120.0  # as long as one event of a stream may take

#: Why there is no answer, where it is not the agent's fault.
_SHOWN: Mapping[str, type[AtriumError]] = {each.code: each for each in (HandlerTimeout, LimitExceeded, GoingAway)}


class BankRoutes:
    def __init__(self, directory: Directory, conversation: Conversation, handover: Handover) -> None:
        self._directory = directory
        self._conversation = conversation
        self._handover = handover

    @endpoint("POST", "/api/v1/chat/message", body=bodies.BankMessage, rate="messages", timeout=ANSWER_SECONDS)
    async def message(self, identity: Identity, session_id: str, user_message: str) -> Mapping[str, object]:
        """The session is made if there is none, as by joining: this dialect knows no other way.

        Raises Conflict where no agent answers, or somebody stopped it; AgentUnavailable; HandlerTimeout.
        """
        await self._directory.open(identity, session_id)
        hearing = Hearing()
        await self._conversation.send(identity, session_id, user_message, listener=hearing)
        return await whole(hearing)

    @endpoint("POST", "/api/v1/handover/analyze", body=bodies.Analyze)
    async def analyze(self, identity: Identity, session_id: str) -> Mapping[str, object]:
        return await self._handover.analyze(identity, session_id)


async def whole(hearing: Hearing) -> Mapping[str, object]:
    """The answer, once it is all there; shaped as in the bank's seed."""
    text: list[str] = []
    end: Mapping[str, object] = {}
    async for event in hearing.events():
        if event["type"] == "stream_chunk":
            text.append(str(event["content"]))
        end = event
    error = end.get("error")
    if isinstance(error, Mapping):
        raise _SHOWN.get(str(error.get("code")), AgentUnavailable)(str(error.get("message", "")))
    if end.get("cancelled"):
        raise Conflict("The answer was stopped")
    verdict = {name: end.get(name) for name in ("intent", "suggested_action", "source_documents")}
    return {"ai_message": "".join(text), **verdict}
