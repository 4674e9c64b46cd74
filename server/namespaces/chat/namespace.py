"""/chat on Socket.IO: its events and their schemas. What they mean is the service's business."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat import schemas
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.replies import Pace
from server.namespaces.chat.service import ChatService, Options
from server.namespaces.chat.typists import Later, on_loop
from server.realtime import schema
from server.realtime.connection import Connection
from server.realtime.namespace import Namespace, event
from server.realtime.presence import Presence
from server.storage.database import Database


class ChatNamespace(Namespace):
    path = "/chat"

    def __init__(
        self,
        database: Database,
        agents: Mapping[int, Agent],
        options: Options,
        *,
        presence: Presence | None = None,
        require_auth: bool = True,
        later: Later = on_loop,
    ) -> None:
        super().__init__(require_auth=require_auth)
        self.service = ChatService(database, self, agents, options, presence=presence, later=later)

    async def recovered(self, connection: Connection) -> None:
        await self.service.recovered(connection)

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        goodbyes = (self.server.reason.CLIENT_DISCONNECT, self.server.reason.SERVER_DISCONNECT)
        await self.service.left(connection, lost=reason not in goodbyes)

    async def start(self) -> None:
        self.service.start()

    async def stop(self) -> None:
        await self.service.close()

    async def welcome(self, connection: Connection, *, recovered: bool) -> None:
        await super().welcome(connection, recovered=recovered)
        if self.connection(connection.id) is connection:  # else it is gone, and `left` will not be told again
            await self.service.came(connection)

    @event("authenticate", schema.Authenticate)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token may have fewer roles: sessions that it does not open are left."""
        result = await super().authenticate(connection, token)
        await self.service.review(connection)
        return result or {}

    @event("join", schemas.Join)
    async def join(self, connection: Connection, session_id: str, after_seq: int | None) -> Mapping[str, object]:
        return await self.service.join(connection, session_id, after_seq)

    @event("leave", schemas.Leave)
    async def leave_session(self, connection: Connection, session_id: str) -> None:
        await self.service.leave(connection, session_id)

    @event("message", schemas.Message, rate="messages")
    async def message(
        self,
        connection: Connection,
        session_id: str,
        content: str,
        client_message_id: str | None,
        message_type: str,
        metadata: dict[str, object] | None,
    ) -> Mapping[str, object]:
        return await self.service.send(
            connection.identity,
            session_id,
            content,
            message_type=message_type,
            client_message_id=client_message_id,
            metadata=metadata,
        )

    @event("typing", schemas.Typing)
    async def typing(self, connection: Connection, session_id: str, is_typing: bool) -> None:
        await self.service.typing(connection, session_id, is_typing=is_typing)


def build(
    database: Database,
    *,
    config: Path,
    presence: Presence | None = None,
    default_agent: str,
    auto_create: bool,
    stream_chunk_size: int,
    stream_delay_ms: int,
    require_auth: bool,
) -> ChatNamespace:
    """`default_agent` is an id in `agents.toml`, or empty for people only. Raises ConfigError."""
    agents = roster.load(config)
    options = Options(
        auto_create=auto_create,
        default_agent=_default_agent(agents, default_agent, config),
        pace=Pace(stream_chunk_size, stream_delay_ms / 1000),
    )
    return ChatNamespace(database, agents, options, presence=presence, require_auth=require_auth)


def _default_agent(agents: Mapping[int, Agent], wanted: str, config: Path) -> int | None:
    if not wanted:
        return None
    for agent_id in agents:
        if str(agent_id) == wanted:
            return agent_id
    raise ConfigError(f"{config / roster.FILE}: no agent with the id {wanted!r}, which CHAT_DEFAULT_AGENT names")
