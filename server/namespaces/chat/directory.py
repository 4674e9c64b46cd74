"""Which sessions there are for a user, and who takes part in them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from server.auth.policy import is_staff
from server.errors import Conflict, Forbidden, InvalidMessage, LimitExceeded, NotFound
from server.identity import Identity
from server.namespaces.chat import notices, sessions
from server.namespaces.chat.access import Access, access, check
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.models import ChatParticipant, ChatSession
from server.namespaces.chat.sessions import Listed, Wanted
from server.namespaces.chat.transcript import now
from server.realtime.delivery import Delivery
from server.realtime.rooms import user_room
from server.storage.database import Database
from server.timestamps import iso_utc

MAX_PARTICIPANTS = 100

MAX_ID = 2**31 - 1  # PostgreSQL's integer
NOBODY = 0  # no agent's id: a session of people only

_CURSOR = re.compile(r"([0-9]{1,16})-([0-9]{1,10})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Directory:
    def __init__(
        self,
        database: Database,
        delivery: Delivery,
        agents: Mapping[int, Agent],
        *,
        default_agent: int | None,
        auto_create: bool,
        ended: Callable[[str], None],
        removed: Callable[[str | None, str, str], Awaitable[None]],
    ) -> None:
        """`default_agent` is for sessions that name none; None: people only. `ended` is told of a session that nothing
        more is said in, `removed` of tenant, session and user where one takes part no more."""
        self._database = database
        self._delivery = delivery
        self._agents = agents
        self._default_agent = default_agent
        self._auto_create = auto_create
        self._ended = ended
        self._removed = removed

    def agents(self) -> dict[str, object]:
        """Those that a session may be made with."""
        offered = [agent.to_wire() | {"answers": agent.backend is not None} for agent in self._agents.values()]
        return {"agents": offered, "default_agent_id": self._default_agent}

    # -- sessions -----------------------------------------------------------------------------------------------

    async def create(
        self,
        identity: Identity,
        *,
        agent_id: int | None = None,
        title: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """`agent_id`: None for the default one, NOBODY. Raises InvalidMessage for an agent that there is not."""
        if agent_id not in (None, NOBODY, *self._agents):
            raise InvalidMessage(details={"agent_id": ["No such agent."]})
        session = self._new(identity, f"sess_{uuid.uuid4().hex}", agent_id)
        session.title = title
        session.details = None if metadata is None else dict(metadata)
        async with self._database.transaction() as db:
            await sessions.create_session(db, session)
        wire = session.to_wire()
        return {
            name: wire[name]
            for name in ("session_id", "trace_id", "user_id", "agent_id", "title", "status", "metadata", "created_at")
        }

    async def open(self, identity: Identity, session_id: str) -> Access:
        """A session to join: made for this user if there is none and that is wanted. Raises Forbidden."""
        async with self._database.reading() as db:
            session = await sessions.find_session(db, session_id)
            if session is not None or not self._auto_create:
                return await check(db, identity, session)
        session = self._new(identity, session_id, None)
        try:
            async with self._database.transaction() as db:
                await sessions.create_session(db, session)
        except IntegrityError:  # somebody was first
            async with self._database.reading() as db:
                return await access(db, identity, session_id)
        return Access(session, is_participant=True)

    def _new(self, identity: Identity, session_id: str, agent_id: int | None) -> ChatSession:
        moment = now()
        return ChatSession(
            session_id=session_id,
            trace_id=f"trace_{uuid.uuid4().hex}",
            tenant=identity.tenant,
            user_id=identity.user_id,
            agent_id=self._default_agent if agent_id is None else agent_id or None,
            status="active",
            last_seq=0,
            created_at=moment,
            updated_at=moment,
        )

    async def list(
        self,
        identity: Identity,
        *,
        status: str | None = None,
        agent_id: int | None = None,
        limit: int = 50,
        offset: int = 0,
        cursor: str | None = None,
        everyone: bool = False,
        handover: bool = False,
    ) -> dict[str, object]:
        """The user's, the most recently used first; for staff, `everyone`'s of their tenant; those that
        wait for a person, with `handover`. By `cursor`, a `next_cursor` of the page before, none comes twice and none
        is left out that did not move meanwhile."""
        if everyone and not is_staff(identity):
            raise Forbidden("Only staff see everyone's sessions")
        before = None if cursor is None else _place(cursor)
        wanted = Wanted(identity.tenant, None if everyone else identity.user_id, status, agent_id, before, handover)
        async with self._database.reading() as db:
            total = await sessions.count(db, wanted)
            found, has_more = await sessions.page(db, wanted, identity.user_id, limit=limit, offset=offset)
        return {
            "sessions": [self._listed(each) for each in found],
            "total": total,
            "has_more": has_more,
            "next_cursor": _cursor(found[-1].session) if has_more else None,
        }

    def _listed(self, listed: Listed) -> dict[str, object]:
        session, last = listed.session, listed.last_message
        agent = self._agent(session)
        return {
            "session_id": session.session_id,
            "title": session.title,
            "user_id": session.user_id,
            "agent_id": session.agent_id,
            "agent_name": None if agent is None else agent.name,
            "operator_id": session.operator_id,
            "handover": session.handover,
            "last_message": None if last is None else last.content or "",
            "last_message_at": None if last is None else iso_utc(last.created_at),
            "unread_count": listed.unread,
            "status": session.status,
            "created_at": iso_utc(session.created_at),
        }

    async def get(self, identity: Identity, session_id: str) -> dict[str, object]:
        """Raises Forbidden."""
        async with self._database.reading() as db:
            found = await access(db, identity, session_id)
            return await self.describe(db, found.session, identity)

    async def describe(self, db: AsyncSession, session: ChatSession, reader: Identity) -> dict[str, object]:
        """The seed's session, as `reader` sees it."""
        agent = self._agent(session)
        people = await sessions.participant_rows(db, session.session_id)
        last_read = next((each.last_read_seq for each in people if each.user_id == reader.user_id), session.last_seq)
        return session.to_wire() | {
            "agent": None if agent is None else agent.to_wire(),
            "operator_id": session.operator_id,
            "handover": session.handover,
            "participants": [each.user_id for each in people],
            "last_seq": session.last_seq,
            "unread_count": session.last_seq - last_read,
        }

    def _agent(self, session: ChatSession) -> Agent | None:
        return None if session.agent_id is None else self._agents.get(session.agent_id)

    async def archive(self, identity: Identity, session_id: str) -> dict[str, object]:
        """Nothing more is said in it. Its owner and staff may; again is as once. Raises Forbidden."""
        async with self._database.transaction() as db:
            session = await self._managed(db, identity, session_id)
            is_news = session.status == "active"
            if is_news:
                session.status = "archived"
                session.ended_at = session.updated_at = max(now(), session.updated_at)
                session.handover = None
        if is_news:
            self._ended(session_id)
            await notices.tell(self._delivery, session, "session_archived", identity.user_id)
        return {"message": "Session archived successfully", "session_id": session_id}

    async def _managed(self, db: AsyncSession, identity: Identity, session_id: str) -> ChatSession:
        session = await sessions.find_session(db, session_id, locked=True)
        found = await check(db, identity, session)
        if not (is_staff(identity) or found.session.user_id == identity.user_id):
            raise Forbidden("Only its owner and staff may do this")
        return found.session

    # -- participants -------------------------------------------------------------------------------------------

    async def participants(self, identity: Identity, session_id: str) -> dict[str, object]:
        async with self._database.reading() as db:
            await access(db, identity, session_id)
            return await _people(db, session_id)

    async def invite(self, identity: Identity, session_id: str, user_id: str) -> dict[str, object]:
        """Who is one already stays one. Raises Forbidden, LimitExceeded."""
        async with self._database.transaction() as db:
            session = await self._managed(db, identity, session_id)
            people = await sessions.participants(db, session_id)
            is_news = user_id not in people
            if is_news:
                if len(people) >= MAX_PARTICIPANTS:
                    raise LimitExceeded(f"A session has {MAX_PARTICIPANTS} participants at most")
                db.add(
                    ChatParticipant(
                        session_id=session_id, user_id=user_id, last_read_seq=session.last_seq, joined_at=now()
                    )
                )
                await db.flush()
            answer = await _people(db, session_id)
        if is_news:
            await notices.tell(self._delivery, session, "participant_added", user_id)
            payload = {"event": "invited", "session_id": session_id, "user_id": identity.user_id}
            await self._delivery.emit("notification", payload, room=user_room(session.tenant, user_id))
        return answer

    async def remove(self, identity: Identity, session_id: str, user_id: str) -> dict[str, object]:
        """The owner and staff remove others; everybody but the owner may go. Raises Forbidden, NotFound, Conflict."""
        async with self._database.transaction() as db:
            if identity.user_id == user_id:
                session = (await access(db, identity, session_id)).session
            else:
                session = await self._managed(db, identity, session_id)
            if user_id == session.user_id:
                raise Conflict("The owner cannot be removed")
            people = await sessions.participant_rows(db, session_id)
            row = next((each for each in people if each.user_id == user_id), None)
            if row is None:
                raise NotFound("No such participant")
            await db.delete(row)
            await db.flush()
            answer = await _people(db, session_id)
        await notices.tell(self._delivery, session, "participant_removed", user_id)
        await self._removed(session.tenant, session_id, user_id)
        return answer


async def _people(db: AsyncSession, session_id: str) -> dict[str, object]:
    return {
        "participants": [
            {"user_id": each.user_id, "last_read_seq": each.last_read_seq, "joined_at": iso_utc(each.joined_at)}
            for each in await sessions.participant_rows(db, session_id)
        ]
    }


def _cursor(session: ChatSession) -> str:
    microseconds = (session.updated_at - _EPOCH) // timedelta(microseconds=1)
    return f"{microseconds}-{session.id}"


def _place(cursor: str) -> tuple[datetime, int]:
    """Raises InvalidMessage."""
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[2]) > MAX_ID:
        raise InvalidMessage(details={"cursor": ["Not a next_cursor."]})
    return _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])
