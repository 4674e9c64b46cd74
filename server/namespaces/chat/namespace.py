"""/chat on Socket.IO: its events and their schemas. What they mean is the service's business."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat import schemas
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.files import Files
from server.namespaces.chat.service import ChatService, Options
from server.namespaces.chat.thumbnails import Thumbnails
from server.namespaces.chat.typists import Later, on_loop
from server.namespaces.chat.uploads import Uploads
from server.realtime import schema
from server.realtime.connection import Connection
from server.realtime.leases import Lease
from server.realtime.namespace import Namespace, event
from server.realtime.others import Others
from server.realtime.presence import Presence
from server.storage.database import Database
from server.storage.files import FileStore


class ChatNamespace(Namespace):
    path = "/chat"

    def __init__(
        self,
        database: Database,
        agents: Mapping[int, Agent],
        options: Options,
        files: Files,
        uploads: Uploads,
        *,
        presence: Presence | None = None,
        lease: Lease | None = None,
        others: Others | None = None,
        require_auth: bool = True,
        later: Later = on_loop,
    ) -> None:
        """`lease` on the cleaning of files."""
        super().__init__(require_auth=require_auth)
        self.service = ChatService(
            database,
            self,
            agents,
            options,
            files,
            uploads,
            presence=presence,
            lease=lease,
            others=others,
            later=later,
        )

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
        return await self.service.conversation.send(
            connection.identity,
            session_id,
            content,
            message_type=message_type,
            client_message_id=client_message_id,
            metadata=metadata,
        )

    @event("file", schemas.File, rate="messages")
    async def file(
        self, connection: Connection, session_id: str, file_id: str, message: str, client_message_id: str | None
    ) -> Mapping[str, object]:
        return await self.service.conversation.attach(
            connection.identity, session_id, file_id, message, client_message_id=client_message_id
        )

    @event("edit", schemas.Edit, rate="messages")
    async def edit(
        self, connection: Connection, session_id: str, message_id: str, content: str
    ) -> Mapping[str, object]:
        return await self.service.conversation.edit(connection.identity, session_id, message_id, content)

    @event("delete", schemas.Said)
    async def delete(self, connection: Connection, session_id: str, message_id: str) -> Mapping[str, object]:
        return await self.service.conversation.delete(connection.identity, session_id, message_id)

    @event("read", schemas.Read)
    async def read(self, connection: Connection, session_id: str, seq: int) -> Mapping[str, object]:
        return await self.service.conversation.read(connection.identity, session_id, seq)

    @event("typing", schemas.Typing)
    async def typing(self, connection: Connection, session_id: str, is_typing: bool) -> None:
        await self.service.typing(connection, session_id, is_typing=is_typing)

    @event("search", schemas.Search)
    async def search(
        self, connection: Connection, query: str, session_id: str | None, limit: int
    ) -> Mapping[str, object]:
        return await self.service.search.search(connection.identity, query, session_id=session_id, limit=limit)

    @event("stream_cancel", schemas.StreamCancel)
    async def stream_cancel(
        self, connection: Connection, message_id: str, session_id: str | None
    ) -> Mapping[str, object]:
        return await self.service.cancel(connection.identity, message_id, session_id)

    # -- from the agent to a person -----------------------------------------------------------------------------

    @event("handover_request", schemas.HandoverRequest, rate="messages")
    async def handover_request(self, connection: Connection, session_id: str, reason: str) -> Mapping[str, object]:
        return await self.service.handover.request(connection.identity, session_id, reason)

    @event("handover_accept", schemas.Session)
    async def handover_accept(self, connection: Connection, session_id: str) -> Mapping[str, object]:
        return await self.service.handover.accept(connection.identity, session_id)

    @event("handover_return", schemas.Session)
    async def handover_return(self, connection: Connection, session_id: str) -> Mapping[str, object]:
        return await self.service.handover.hand_back(connection.identity, session_id)

    # -- files in pieces ----------------------------------------------------------------------------------------

    @event("upload_start", schemas.UploadStart)
    async def upload_start(
        self, connection: Connection, session_id: str, name: str, size: int, type: str
    ) -> Mapping[str, object]:
        return await self.service.uploads.start(connection.identity, session_id, name, size, type)

    @event("upload_chunk", schemas.UploadChunk, attachment="data")
    async def upload_chunk(
        self, connection: Connection, upload_id: str, offset: int, data: bytes
    ) -> Mapping[str, object]:
        return await self.service.uploads.chunk(connection.identity, upload_id, offset, data)

    @event("upload_status", schemas.Upload)
    async def upload_status(self, connection: Connection, upload_id: str) -> Mapping[str, object]:
        return await self.service.uploads.status(connection.identity, upload_id)

    @event("upload_end", schemas.Upload)
    async def upload_end(self, connection: Connection, upload_id: str) -> Mapping[str, object]:
        return await self.service.uploads.end(connection.identity, upload_id)


def build(
    database: Database,
    store: FileStore,
    *,
    config: Path,
    agent_options: Mapping[str, Mapping[str, object]],
    more_agents: Iterable[tuple[str, Mapping[str, object]]] = (),
    options: Options,
    max_file_size: int,
    allowed_file_types: Collection[str],
    presence: Presence | None = None,
    lease: Lease | None = None,
    others: Others | None = None,
    require_auth: bool,
) -> ChatNamespace:
    """`agent_options`: of backends by name, where `agents.toml` does not say; `more_agents`: who brings one beside its
    own, and their tables. Raises ConfigError."""
    agents = roster.load(config, agent_options, more_agents)
    if options.default_agent not in (None, *agents):
        raise ConfigError(
            f"{config / roster.FILE}: no agent with the id {options.default_agent}, which CHAT_DEFAULT_AGENT names"
        )
    files = Files(database, store, Thumbnails(), max_bytes=max_file_size, allowed_types=allowed_file_types)
    return ChatNamespace(
        database,
        agents,
        options,
        files,
        Uploads(database, store, files),
        presence=presence,
        lease=lease,
        others=others,
        require_auth=require_auth,
    )
