"""Chat's HTTP API: its routes and their schemas. What they mean is the services' business, as that of events is."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from server.http.api import Api, endpoint
from server.identity import Identity
from server.namespaces.chat import bodies
from server.namespaces.chat.conversation import Conversation
from server.namespaces.chat.directory import Directory
from server.namespaces.chat.handover import Handover
from server.namespaces.chat.routes_bank import BankRoutes
from server.namespaces.chat.routes_stream import StreamRoutes
from server.namespaces.chat.search import Search
from server.namespaces.chat.service import ChatService

NAMESPACE = "/chat"
SESSIONS = "/api/chat/sessions"
SESSION = "/api/chat/sessions/{session_id}"
MESSAGES = "/api/chat/sessions/{session_id}/messages"
MESSAGE = "/api/chat/sessions/{session_id}/messages/{message_id}"
PARTICIPANTS = "/api/chat/sessions/{session_id}/participants"

Answer = Mapping[str, object]


def routes(service: ChatService, api: Api) -> list[web.RouteDef]:
    return api.routes(
        NAMESPACE,
        SessionRoutes(service.directory),
        MessageRoutes(service.conversation, service.search),
        HandoverRoutes(service.handover),
        StreamRoutes(service.conversation),
        BankRoutes(service.directory, service.conversation, service.handover),
    )


class SessionRoutes:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    @endpoint("GET", "/api/chat/agents")
    async def agents(self, identity: Identity) -> Answer:
        return self._directory.agents()

    @endpoint("POST", SESSIONS, body=bodies.NewSession, status=201)
    async def create(
        self, identity: Identity, agent_id: int | None, title: str | None, metadata: Answer | None
    ) -> Answer:
        return await self._directory.create(identity, agent_id=agent_id, title=title, metadata=metadata)

    @endpoint("GET", SESSIONS, query=bodies.SessionsQuery)
    async def list(
        self,
        identity: Identity,
        status: str | None,
        agent_id: int | None,
        limit: int,
        offset: int,
        cursor: str | None,
        everyone: bool,
        handover: bool,
    ) -> Answer:
        return await self._directory.list(
            identity,
            status=status,
            agent_id=agent_id,
            limit=limit,
            offset=offset,
            cursor=cursor,
            everyone=everyone,
            handover=handover,
        )

    @endpoint("GET", SESSION)
    async def get(self, identity: Identity, session_id: str) -> Answer:
        return await self._directory.get(identity, session_id)

    @endpoint("DELETE", SESSION)
    async def archive(self, identity: Identity, session_id: str) -> Answer:
        return await self._directory.archive(identity, session_id)

    @endpoint("GET", PARTICIPANTS)
    async def participants(self, identity: Identity, session_id: str) -> Answer:
        return await self._directory.participants(identity, session_id)

    @endpoint("POST", PARTICIPANTS, body=bodies.Invitation, status=201)
    async def invite(self, identity: Identity, session_id: str, user_id: str) -> Answer:
        return await self._directory.invite(identity, session_id, user_id)

    @endpoint("DELETE", PARTICIPANTS + "/{user_id}")
    async def remove(self, identity: Identity, session_id: str, user_id: str) -> Answer:
        return await self._directory.remove(identity, session_id, user_id)


class MessageRoutes:
    def __init__(self, conversation: Conversation, search: Search) -> None:
        self._conversation = conversation
        self._search = search

    @endpoint("POST", MESSAGES, body=bodies.Message, status=201, rate="messages")
    async def send(
        self,
        identity: Identity,
        session_id: str,
        content: str,
        message_type: str,
        client_message_id: str | None,
        metadata: Answer | None,
    ) -> Answer:
        return await self._conversation.send(
            identity,
            session_id,
            content,
            message_type=message_type,
            client_message_id=client_message_id,
            metadata=metadata,
        )

    @endpoint("GET", MESSAGES, query=bodies.MessagesQuery)
    async def history(
        self, identity: Identity, session_id: str, limit: int, before: str | None, after: str | None
    ) -> Answer:
        """With `next_before` or `next_after` where there is more: a seq, so that no page misses or repeats any."""
        page = await self._conversation.history(identity, session_id, limit=limit, before=before, after=after)
        messages = page["messages"]
        if not (page["has_more"] and isinstance(messages, list) and messages):
            return page
        return page | ({"next_before": messages[0]["seq"]} if after is None else {"next_after": messages[-1]["seq"]})

    @endpoint("PATCH", MESSAGE, body=bodies.Edit, rate="messages")
    async def edit(self, identity: Identity, session_id: str, message_id: str, content: str) -> Answer:
        return await self._conversation.edit(identity, session_id, message_id, content)

    @endpoint("DELETE", MESSAGE)
    async def delete(self, identity: Identity, session_id: str, message_id: str) -> Answer:
        return await self._conversation.delete(identity, session_id, message_id)

    @endpoint("POST", SESSION + "/read", body=bodies.Read)
    async def read(self, identity: Identity, session_id: str, seq: int) -> Answer:
        return await self._conversation.read(identity, session_id, seq)

    @endpoint("GET", "/api/chat/search", query=bodies.SearchQuery)
    async def search(self, identity: Identity, query: str, session_id: str | None, limit: int) -> Answer:
        return await self._search.search(identity, query, session_id=session_id, limit=limit)


class HandoverRoutes:
    def __init__(self, handover: Handover) -> None:
        self._handover = handover

    @endpoint("POST", SESSION + "/handover", body=bodies.HandoverRequest, rate="messages")
    async def request(self, identity: Identity, session_id: str, reason: str) -> Answer:
        return await self._handover.request(identity, session_id, reason)

    @endpoint("POST", SESSION + "/handover/accept")
    async def accept(self, identity: Identity, session_id: str) -> Answer:
        return await self._handover.accept(identity, session_id)

    @endpoint("POST", SESSION + "/handover/return")
    async def hand_back(self, identity: Identity, session_id: str) -> Answer:
        return await self._handover.hand_back(identity, session_id)
