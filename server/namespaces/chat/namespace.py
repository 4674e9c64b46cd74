"""/chat on Socket.IO: its events and their schemas. What they mean is the service's business."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.chat import schemas, told
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.files import Files
from server.namespaces.chat.service import ChatService, Options
from server.namespaces.chat.thumbnails import Thumbnails
from server.namespaces.chat.typists import Later, on_loop
from server.namespaces.chat.uploads import Uploads
from server.realtime import schema
from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.leases import Lease
from server.realtime.namespace import Namespace
from server.realtime.others import Others
from server.realtime.presence import Presence
from server.realtime.told import Ack, Authenticated
from server.storage.database import Database
from server.storage.files import FileStore


class ChatNamespace(Namespace):
    path = "/chat"
    tells = told.TELLS

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

    @event("authenticate", schema.Authenticate, ack=Authenticated)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token for the same user and tenant keeps the connection; sessions that it does not open are left."""
        result = await super().authenticate(connection, token)
        await self.service.review(connection)
        return result or {}

    @event("join", schemas.Join, ack=told.Joined)
    async def join(self, connection: Connection, session_id: str, after_seq: int | None) -> Mapping[str, object]:
        """Hears of the session from here on. One that there is not is made for this user."""
        return await self.service.join(connection, session_id, after_seq)

    @event("leave", schemas.Leave, ack=Ack)
    async def leave_session(self, connection: Connection, session_id: str) -> None:
        """Hears of the session no more."""
        await self.service.leave(connection, session_id)

    @event("message", schemas.Message, rate="messages", ack=told.Sent)
    async def message(
        self,
        connection: Connection,
        session_id: str,
        content: str,
        client_message_id: str | None,
        message_type: str,
        metadata: dict[str, object] | None,
    ) -> Mapping[str, object]:
        """Says something in a session. Sent again with the same `client_message_id` it is said once."""
        return await self.service.conversation.send(
            connection.identity,
            session_id,
            content,
            message_type=message_type,
            client_message_id=client_message_id,
            metadata=metadata,
        )

    @event("file", schemas.File, rate="messages", ack=told.Sent)
    async def file(
        self, connection: Connection, session_id: str, file_id: str, message: str, client_message_id: str | None
    ) -> Mapping[str, object]:
        """Says a file that was uploaded to the session."""
        return await self.service.conversation.attach(
            connection.identity, session_id, file_id, message, client_message_id=client_message_id
        )

    @event("edit", schemas.Edit, rate="messages", ack=told.Edited)
    async def edit(
        self, connection: Connection, session_id: str, message_id: str, content: str
    ) -> Mapping[str, object]:
        """Changes a text of one's own."""
        return await self.service.conversation.edit(connection.identity, session_id, message_id, content)

    @event("delete", schemas.Said, ack=told.Deleted)
    async def delete(self, connection: Connection, session_id: str, message_id: str) -> Mapping[str, object]:
        """Takes back what one has said: its place stays."""
        return await self.service.conversation.delete(connection.identity, session_id, message_id)

    @event("read", schemas.Read, ack=told.ReadAck)
    async def read(self, connection: Connection, session_id: str, seq: int) -> Mapping[str, object]:
        """One has read all up to `seq`."""
        return await self.service.conversation.read(connection.identity, session_id, seq)

    @event("typing", schemas.Typing, ack=Ack)
    async def typing(self, connection: Connection, session_id: str, is_typing: bool) -> None:
        """To the others in the session; to be repeated while it goes on."""
        await self.service.typing(connection, session_id, is_typing=is_typing)

    @event("search", schemas.Search, ack=told.Found)
    async def search(
        self, connection: Connection, query: str, session_id: str | None, limit: int
    ) -> Mapping[str, object]:
        """Messages that hold every word, in sessions that one may see."""
        return await self.service.search.search(connection.identity, query, session_id=session_id, limit=limit)

    @event("stream_cancel", schemas.StreamCancel, ack=told.StreamCancelled)
    async def stream_cancel(
        self, connection: Connection, message_id: str, session_id: str | None
    ) -> Mapping[str, object]:
        """Stops an agent's answer."""
        return await self.service.cancel(connection.identity, message_id, session_id)

    # -- from the agent to a person -----------------------------------------------------------------------------

    @event("handover_request", schemas.HandoverRequest, rate="messages", ack=told.HandoverRequested)
    async def handover_request(self, connection: Connection, session_id: str, reason: str) -> Mapping[str, object]:
        """Asks operators to take over."""
        return await self.service.handover.request(connection.identity, session_id, reason)

    @event("handover_accept", schemas.Session, ack=told.Operated)
    async def handover_accept(self, connection: Connection, session_id: str) -> Mapping[str, object]:
        """An operator takes over: the agent falls silent."""
        return await self.service.handover.accept(connection.identity, session_id)

    @event("handover_return", schemas.Session, ack=told.Operated)
    async def handover_return(self, connection: Connection, session_id: str) -> Mapping[str, object]:
        """The agent answers again."""
        return await self.service.handover.hand_back(connection.identity, session_id)

    # -- files in pieces ----------------------------------------------------------------------------------------

    @event("upload_start", schemas.UploadStart, ack=told.UploadStarted)
    async def upload_start(
        self, connection: Connection, session_id: str, name: str, size: int, type: str
    ) -> Mapping[str, object]:
        """A file follows in chunks."""
        return await self.service.uploads.start(connection.identity, session_id, name, size, type)

    @event("upload_chunk", schemas.UploadChunk, attachment="data", ack=told.Received)
    async def upload_chunk(
        self, connection: Connection, upload_id: str, offset: int, data: bytes
    ) -> Mapping[str, object]:
        """The next bytes of a file."""
        return await self.service.uploads.chunk(connection.identity, upload_id, offset, data)

    @event("upload_status", schemas.Upload, ack=told.UploadStatus)
    async def upload_status(self, connection: Connection, upload_id: str) -> Mapping[str, object]:
        """From where to go on."""
        return await self.service.uploads.status(connection.identity, upload_id)

    @event("upload_end", schemas.Upload, ack=told.Uploaded)
    async def upload_end(self, connection: Connection, upload_id: str) -> Mapping[str, object]:
        """All chunks are there."""
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
