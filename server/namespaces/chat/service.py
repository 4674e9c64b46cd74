"""The rules of chat: who is in a session, what is said there and who hears it. How bytes travel, it does not know."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy.exc import IntegrityError

from server.errors import Forbidden
from server.identity import Identity
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.access import NO_ACCESS, access, check
from server.namespaces.chat.agents.backend import Question
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.models import ChatSession, Draft
from server.namespaces.chat.presence import note, session_of, session_room
from server.namespaces.chat.replies import Asked, Pace, Replies
from server.namespaces.chat.transcript import Transcript, new_message_id, now
from server.namespaces.chat.typists import Later, Typists, on_loop
from server.realtime.connection import Connection
from server.realtime.delivery import Delivery
from server.realtime.presence import Change, MemoryPresence, Presence
from server.realtime.rooms import user_room
from server.storage.database import Database
from server.timestamps import iso_utc

HISTORY = 200  # SPEC §4: messages in one answer
MISSED = timedelta(seconds=60)  # who sends something again does it by then; rooms' logs are kept for longer


class Floor(Delivery, Protocol):
    """What chat needs of its namespace beyond delivery: rooms, and work beside the handlers."""

    def check_rooms(self, connection: Connection, room: str) -> None: ...

    async def enter(self, connection: Connection, room: str) -> None: ...

    async def leave(self, connection: Connection, room: str) -> bool: ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> object: ...


@dataclass(frozen=True, slots=True)
class Options:
    """`default_agent` is for sessions that are made by joining; None: people only."""

    auto_create: bool = True
    default_agent: int | None = None
    pace: Pace = field(default_factory=Pace)


class ChatService:
    def __init__(
        self,
        database: Database,
        floor: Floor,
        agents: Mapping[int, Agent],
        options: Options,
        *,
        presence: Presence | None = None,
        later: Later = on_loop,
    ) -> None:
        self._database = database
        self._floor = floor
        self._agents = agents
        self._options = options
        self._presence = presence or MemoryPresence()
        self._presence.changed = self._changed
        self._typists = Typists(self._fell_silent, later)
        self._transcript = Transcript(database)
        self._replies = Replies(floor, self._transcript, floor.spawn, pace=options.pace)

    def start(self) -> None:
        self._floor.spawn(self._presence.serve(), "presence")

    async def close(self) -> None:
        self._typists.close()
        await self._presence.close()

    async def came(self, connection: Connection) -> None:
        """It connected."""
        await self._show(connection, next(iter(self._sessions(connection)), None))

    # -- sessions -----------------------------------------------------------------------------------------------

    async def join(self, connection: Connection, session_id: str, after_seq: int | None) -> dict[str, object]:
        """The messages after `after_seq`, oldest first, and whether more follow; without one, the newest, in the
        same order, and whether there are older ones. Nothing is missed between them and the events that follow.
        """
        self._floor.check_rooms(connection, _room_of(connection, session_id))  # before a session is made for it
        session = await self._open(connection.identity, session_id)
        room = _room(session)
        async with self._transcript.still(session_id):
            known = self._presence.holds(room, connection)
            await self._floor.enter(connection, room)
            try:
                answer = await self._history(session_id, after_seq)
            except BaseException:
                if not known:
                    await self._floor.leave(connection, room)
                raise
            await self._announce(await self._presence.enter(room, connection), skip=(connection.id,))
        await self._show(connection, session_id)
        return answer | {"online": await self._presence.users(room)}

    async def leave(self, connection: Connection, session_id: str) -> None:
        """Leaving a session one is not in does nothing, and tells nothing of it."""
        room = _room_of(connection, session_id)
        if not self._presence.holds(room, connection):
            return
        await self._floor.leave(connection, room)
        await self._stop_typing(connection, session_id)
        await self._announce(await self._presence.leave(room, connection), skip=(connection.id,))
        await self._show(connection, next(iter(self._sessions(connection)), None))

    async def review(self, connection: Connection) -> None:
        """Leaves the sessions that a connection's new identity may not use."""
        for session_id in self._sessions(connection):
            if not await self._may_use(connection, session_id):
                await self.leave(connection, session_id)

    async def recovered(self, connection: Connection) -> None:
        """It is in the rooms again that it was in: its user is back in those sessions that are still open to it."""
        for room in list(connection.rooms):
            session_id = session_of(room)
            if session_id is None:
                continue
            if await self._may_use(connection, session_id):
                await self._announce(await self._presence.enter(room, connection), skip=(connection.id,))
            else:
                await self._floor.leave(connection, room)

    async def left(self, connection: Connection, *, lost: bool) -> None:
        """It disconnected, or was `lost` and may come back."""
        for session_id in self._sessions(connection):
            await self._stop_typing(connection, session_id)
        if lost:
            await self._presence.drop(connection)
        else:
            for change in await self._presence.leave_all(connection):
                await self._announce(change)

    def _sessions(self, connection: Connection) -> list[str]:
        return [each for room in self._presence.rooms(connection) if (each := session_of(room)) is not None]

    async def _show(self, connection: Connection, session_id: str | None) -> None:
        """Readers outside find where the user is."""
        room = user_room(connection.tenant, connection.user_id)
        await self._presence.enter(room, connection, note(connection, session_id))

    async def _may_use(self, connection: Connection, session_id: str) -> bool:
        try:
            async with self._database.reading() as db:
                await access(db, connection.identity, session_id)
        except Forbidden:
            return False
        return True

    async def _stop_typing(self, connection: Connection, session_id: str) -> None:
        if self._typists.stop(session_id, connection):
            await self._tell_typing(session_id, connection, is_typing=False)

    async def _open(self, identity: Identity, session_id: str) -> ChatSession:
        """The session, made for this user if there is none and that is wanted. Raises Forbidden."""
        async with self._database.reading() as db:
            session = await sessions.find_session(db, session_id)
            if session is not None or not self._options.auto_create:
                return (await check(db, identity, session)).session
        session = self._new_session(identity, session_id)
        try:
            async with self._database.transaction() as db:
                await sessions.create_session(db, session)
        except IntegrityError:  # somebody was first
            async with self._database.reading() as db:
                return (await access(db, identity, session_id)).session
        return session

    def _new_session(self, identity: Identity, session_id: str) -> ChatSession:
        moment = now()
        return ChatSession(
            session_id=session_id,
            trace_id=f"trace_{uuid.uuid4().hex}",
            tenant=identity.tenant,
            user_id=identity.user_id,
            agent_id=self._options.default_agent,
            status="active",
            last_seq=0,
            created_at=moment,
            updated_at=moment,
        )

    async def _history(self, session_id: str, after_seq: int | None) -> dict[str, object]:
        async with self._database.reading() as db:
            # The messages first: on PostgreSQL the session may be newer than they, and `last_seq` then says so.
            if after_seq is None:
                found, has_more = await messages.newest_messages(db, session_id, HISTORY)
            else:
                found, has_more = await messages.messages_after(db, session_id, after_seq, HISTORY)
            session = await sessions.find_session(db, session_id)
            if session is None:
                raise Forbidden(NO_ACCESS)
            participants = await sessions.participants(db, session_id)
        agent = self._agents.get(session.agent_id) if session.agent_id is not None else None
        return {
            "session": session.to_wire()
            | {"agent": None if agent is None else agent.to_wire(), "participants": participants},
            "participants": participants,
            "messages": [message.to_wire() for message in found],
            "last_seq": session.last_seq,
            "has_more": has_more,
        }

    # -- messages -----------------------------------------------------------------------------------------------

    async def send(
        self,
        identity: Identity,
        session_id: str,
        content: str,
        *,
        message_type: str = "text",
        client_message_id: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> dict[str, object]:
        """Stores a message, then sends it to all who joined the session, the sender's connections among them."""
        async with self._database.reading() as db:
            found = await access(db, identity, session_id)
        session = found.session
        draft = Draft(
            session_id=session_id,
            message_id=new_message_id(),
            sender_type="user",
            sender_id=identity.user_id,
            message_type=message_type,
            content=content,
            metadata=metadata,
            client_message_id=client_message_id,
        )
        async with self._transcript.append(draft) as (message, new):
            if new:
                await self._floor.emit("message", message.to_wire(), room=_room(session))
            elif now() - message.created_at < MISSED:
                new = await self._floor.emit_missing("message", message.to_wire(), room=_room(session))
        await self._floor.flushed()
        if new and found.is_participant:  # staff who were not invited are there to answer
            self._ask_agent(session, identity, content)
        return {
            "message_id": message.message_id,
            "seq": message.seq,
            "created_at": iso_utc(message.created_at),
            "status": "sent",
        }

    def _ask_agent(self, session: ChatSession, identity: Identity, content: str) -> None:
        agent = self._agents.get(session.agent_id) if session.agent_id is not None else None
        if agent is not None and agent.backend is not None:
            question = Question(session.session_id, identity.user_id, content)
            self._replies.ask(Asked(agent.id, agent.backend, question, _room(session)))

    # -- typing -------------------------------------------------------------------------------------------------

    async def typing(self, connection: Connection, session_id: str, *, is_typing: bool) -> None:
        if not self._presence.holds(_room_of(connection, session_id), connection):
            raise Forbidden(NO_ACCESS)
        if is_typing:
            self._typists.start(session_id, connection)
        else:
            self._typists.stop(session_id, connection)
        await self._tell_typing(session_id, connection, is_typing=is_typing)

    def _fell_silent(self, session_id: str, connection: Connection) -> None:
        self._floor.spawn(self._tell_typing(session_id, connection, is_typing=False), "typing")

    async def _tell_typing(self, session_id: str, connection: Connection, *, is_typing: bool) -> None:
        payload = {"session_id": session_id, "user_id": connection.user_id, "is_typing": is_typing}
        room = _room_of(connection, session_id)
        key = (session_id, connection.user_id)
        await self._floor.emit("typing", payload, room=room, skip=(connection.id,), volatile=True, conflate=key)

    async def _changed(self, change: Change) -> None:
        await self._announce(change)

    async def _announce(self, change: Change | None, *, skip: Collection[str] = ()) -> None:
        """`version` orders what two nodes tell at once."""
        if change is None or (session_id := session_of(change.room)) is None:
            return
        payload = {
            "event": "user_joined" if change.present else "user_left",
            "session_id": session_id,
            "user_id": change.user_id,
            "version": change.version,
            "timestamp": iso_utc(),
        }
        await self._floor.emit("system", payload, room=change.room, skip=skip)


def _room(session: ChatSession) -> str:
    return session_room(session.tenant, session.session_id)


def _room_of(connection: Connection, session_id: str) -> str:
    return session_room(connection.tenant, session_id)
