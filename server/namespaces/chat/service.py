"""The rules of chat: who is in a session, what is said there and who hears it. How bytes travel, it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from server.auth.policy import is_staff
from server.errors import Conflict, Forbidden, LimitExceeded, NotFound
from server.identity import Identity
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.access import ARCHIVED, NO_ACCESS, access
from server.namespaces.chat.agents import roster
from server.namespaces.chat.agents.backend import HANDOVER, Question, Verdict
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.conversation import Conversation, operator_room
from server.namespaces.chat.directory import Directory
from server.namespaces.chat.files import Files
from server.namespaces.chat.handover import Handover, operators_room
from server.namespaces.chat.presence import note, session_of, session_room
from server.namespaces.chat.replies import Asked, Pace, Replies
from server.namespaces.chat.search import Search
from server.namespaces.chat.transcript import Transcript
from server.namespaces.chat.typists import Later, Typists, on_loop
from server.namespaces.chat.uploads import Uploads
from server.realtime.connection import Connection
from server.realtime.delivery import Delivery
from server.realtime.leases import Lease, SoleLease
from server.realtime.others import Body, NoOthers, Others
from server.realtime.presence import Change, MemoryPresence, Presence
from server.realtime.rooms import user_room
from server.storage.database import Database
from server.timestamps import iso_utc, utc_now

log = structlog.get_logger(__name__)

HISTORY = 200  # SPEC §4: messages in one answer
REMOVED = "chat participant removed"  # that nodes ask each other with
CLEANING_SECONDS = 3600.0
CONTEXT = 50  # messages that an agent may look back on
NO_STREAM = "No such answer is being given"


class Floor(Delivery, Protocol):
    """What chat needs of its namespace beyond delivery: rooms, and work beside the handlers."""

    def check_rooms(self, connection: Connection, room: str) -> None: ...

    async def enter(self, connection: Connection, room: str) -> None: ...

    async def leave(self, connection: Connection, room: str) -> bool: ...

    def members(self, room: str) -> Collection[Connection]: ...

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
        files: Files,
        uploads: Uploads,
        *,
        presence: Presence | None = None,
        lease: Lease | None = None,
        others: Others | None = None,
        later: Later = on_loop,
    ) -> None:
        self._database = database
        self._floor = floor
        self._agents = agents
        self._lease = lease or SoleLease()
        self._presence = presence or MemoryPresence()
        self._presence.changed = self._changed
        self._typists = Typists(self._fell_silent, later)
        self._transcript = Transcript(database, floor.spawn)
        self._others = others or NoOthers()
        self._others.on(REMOVED, self._remove_here)
        self.replies = Replies(floor, self._transcript, floor.spawn, pace=options.pace, others=self._others)
        self.replies.prepare = self._prepare
        self.replies.answered = self._answered
        self.handover = Handover(database, floor, agents, self.replies.silence)
        self.directory = Directory(
            database,
            floor,
            agents,
            default_agent=options.default_agent,
            auto_create=options.auto_create,
            ended=self.replies.silence,
            removed=self._removed,
        )
        self.files = files
        self.uploads = uploads
        self.conversation = Conversation(database, floor, self._transcript, self.replies, agents, files, self._others)
        self._transcript.told = self.conversation.notify
        self.search = Search(database)

    def start(self) -> None:
        self._floor.spawn(self._presence.serve(), "presence")
        self._floor.spawn(self._lease.hold(self._clean), "files")

    async def close(self) -> None:
        self._typists.close()
        self.files.close()
        await self._presence.close()
        await roster.close(self._agents.values())

    async def _clean(self) -> None:
        while True:
            try:
                await self.files.clean(utc_now())
            except Exception as error:
                log.warning("files were not cleaned", error=repr(error))
            await asyncio.sleep(CLEANING_SECONDS)

    async def came(self, connection: Connection) -> None:
        """It connected, or has a new identity."""
        await self._show(connection, next(iter(self._sessions(connection)), None))
        change = self._floor.enter if is_staff(connection.identity) else self._floor.leave
        try:
            for room in _staff_rooms(connection):
                await change(connection, room)
        except LimitExceeded:
            log.warning("WS_MAX_ROOMS leaves no room for what staff hear", connection=connection.id)

    # -- sessions -----------------------------------------------------------------------------------------------

    async def join(self, connection: Connection, session_id: str, after_seq: int | None) -> dict[str, object]:
        """The messages after `after_seq`, oldest first, and whether more follow; without one, the newest, in the
        same order, and whether there are older ones. Nothing is missed between them and the events that follow.
        """
        self._floor.check_rooms(connection, _room_of(connection, session_id))  # before a session is made for it
        found = await self.directory.open(connection.identity, session_id)
        room = _room_of(connection, session_id)
        async with self._transcript.still(session_id):
            known = self._presence.holds(room, connection)
            if not known:
                await self.replies.watch(session_id, connection.id)
            try:
                await self._floor.enter(connection, room)
                answer = await self._history(connection, session_id, after_seq)
            except BaseException:
                if not known:
                    await self._floor.leave(connection, room)
                raise
            finally:
                if not known:
                    self._floor.spawn(self.replies.unwatch(session_id, connection.id), "unwatch")
            await self._announce(await self._presence.enter(room, connection), skip=(connection.id,))
        await self._show(connection, session_id)
        operator_id = await self.handover.joined(connection.identity, found.session)
        session = answer.pop("session") | {"operator_id": operator_id}
        return {"session": session, **answer, "online": await self._presence.users(room)}

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
            if not await self._may_use(connection.identity, session_id):
                await self.leave(connection, session_id)
        await self.came(connection)

    async def _removed(self, tenant: str | None, session_id: str, user_id: str) -> None:
        """A user takes part in a session no more, on whatever node they joined it."""
        body = {"tenant": tenant, "session_id": session_id, "user_id": user_id}
        await self._remove_here(body)
        await self._others.ask_all(REMOVED, body)

    async def _remove_here(self, body: Body) -> Body:
        tenant, session_id, user_id = body["tenant"], body["session_id"], body["user_id"]
        async with self._transcript.still(session_id):  # nobody is halfway in
            for connection in self._floor.members(user_room(tenant, user_id)):
                is_in = self._presence.holds(_room_of(connection, session_id), connection)
                if is_in and not await self._may_use(connection.identity, session_id):
                    await self.leave(connection, session_id)
        return {}

    async def recovered(self, connection: Connection) -> None:
        """It is in the rooms again that it was in: its user is back in those sessions that are still open to it."""
        if not is_staff(connection.identity):
            for room in _staff_rooms(connection):
                await self._floor.leave(connection, room)
        for room in list(connection.rooms):
            session_id = session_of(room)
            if session_id is None:
                continue
            if await self._may_use(connection.identity, session_id):
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

    async def _may_use(self, identity: Identity, session_id: str) -> bool:
        try:
            async with self._database.reading() as db:
                await access(db, identity, session_id)
        except Forbidden:
            return False
        return True

    async def _stop_typing(self, connection: Connection, session_id: str) -> None:
        if self._typists.stop(session_id, connection):
            await self._tell_typing(session_id, connection, is_typing=False)

    async def _history(self, connection: Connection, session_id: str, after_seq: int | None) -> dict[str, Any]:
        async with self._database.reading() as db:
            # The messages first: on PostgreSQL the session may be newer than they, and `last_seq` then says so.
            found, has_more = await messages.page(db, session_id, after=after_seq, limit=HISTORY)
            access_now = await access(db, connection.identity, session_id)
            session = await self.directory.describe(db, access_now.session, connection.identity)
        return {
            "session": session,
            "participants": session["participants"],
            "messages": [message.to_wire() for message in found],
            "last_seq": session["last_seq"],
            "has_more": has_more,
        }

    async def cancel(self, identity: Identity, message_id: str, session_id: str | None) -> dict[str, object]:
        """Stops an agent's answer. Raises NotFound where it is not being given, Forbidden for a session of others."""
        if session_id is None:
            session_id = await self.replies.find(message_id)
            if session_id is None or not await self._may_use(identity, session_id):
                raise NotFound(NO_STREAM)
        else:
            async with self._database.reading() as db:
                await access(db, identity, session_id)
        if not await self.replies.cancel(message_id, session_id):
            raise NotFound(NO_STREAM)
        return {"message_id": message_id, "session_id": session_id}

    async def _prepare(self, asked: Asked) -> Question | None:
        """None where somebody took over since it was asked."""
        session_id = asked.question.session_id
        async with self._database.reading() as db:
            session = await sessions.find_session(db, session_id)
            if session is None or session.status != "active" or session.operator_id is not None:
                return None
            before, _ = await messages.page(db, session_id, before=asked.seq, limit=CONTEXT)
            people = await sessions.participants(db, session_id)
        return replace(asked.question, history=messages.turns(before, people))

    async def _answered(self, asked: Asked, verdict: Verdict) -> None:
        """The agent would rather that a person goes on."""
        if verdict.suggested_action == HANDOVER:
            await self.handover.wanted(asked.question.session_id)

    # -- typing -------------------------------------------------------------------------------------------------

    async def typing(self, connection: Connection, session_id: str, *, is_typing: bool) -> None:
        if not self._presence.holds(_room_of(connection, session_id), connection):
            raise Forbidden(NO_ACCESS)
        if is_typing:
            async with self._database.reading() as db:
                session = await sessions.find_session(db, session_id)
            if session is None or session.status != "active":
                raise Conflict(ARCHIVED)
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


def _staff_rooms(connection: Connection) -> tuple[str, str]:
    return operators_room(connection.tenant), operator_room(connection.tenant, connection.user_id)


def _room_of(connection: Connection, session_id: str) -> str:
    return session_room(connection.tenant, session_id)
