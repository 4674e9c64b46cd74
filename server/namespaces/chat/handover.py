"""From the agent to a person and back: asked for, taken over by one operator, handed back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from server.auth.policy import is_staff
from server.errors import Conflict, Forbidden
from server.identity import Identity
from server.namespaces.chat import messages, notices, sessions
from server.namespaces.chat.access import ARCHIVED, NO_ACCESS, access, check, open_access
from server.namespaces.chat.agents.analysis import analyze
from server.namespaces.chat.agents.backend import CONTINUE, Verdict
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.models import ChatSession, Said
from server.namespaces.chat.transcript import now
from server.realtime.delivery import Delivery
from server.realtime.rooms import room_name
from server.storage.database import Database
from server.timestamps import iso_utc

LOOKED_AT = 50  # of a session's newest messages, for a summary
ONLY_STAFF = "Only operators may do this"
OPERATOR = "operator"


def operators_room(tenant: str | None) -> str:
    """All connections of a tenant's staff."""
    return room_name(tenant, "staff", "operators")


class Handover:
    def __init__(
        self, database: Database, delivery: Delivery, agents: Mapping[int, Agent], silence: Callable[[str], None]
    ) -> None:
        """`silence` the agent in a session."""
        self._database = database
        self._delivery = delivery
        self._agents = agents
        self._silence = silence

    async def request(self, identity: Identity, session_id: str, reason: str = "") -> dict[str, object]:
        """Operators are told, once for as long as it is open. Raises Forbidden, Conflict."""
        async with self._database.reading() as db:
            await open_access(db, identity, session_id)
        return await self.wanted(session_id, by=identity.user_id, reason=reason)

    async def wanted(self, session_id: str, *, by: str = "", reason: str = "") -> dict[str, object]:
        """As `request`, by anybody: `by` nobody, it is the agent that suggests it."""
        async with self._database.transaction() as db:
            session = await sessions.find_session(db, session_id, locked=True)
            if session is None:
                raise Forbidden(NO_ACCESS)
            is_news = session.operator_id is None and session.handover is None and session.status == "active"
            if is_news:
                asked = {"reason": reason, "requested_by": by or None, "requested_at": iso_utc(now())}
                session.handover = {**await self._analysis(db, session), **asked}
        if is_news:
            payload = {"session_id": session_id, "user_id": session.user_id, **(session.handover or {})}
            await self._delivery.emit("handover_requested", payload, room=operators_room(session.tenant))
            await notices.tell(self._delivery, session, "handover_requested", by or str(session.agent_id or ""))
        return {"session_id": session_id, "operator_id": session.operator_id, "handover": session.handover}

    async def accept(self, identity: Identity, session_id: str) -> dict[str, object]:
        """The agent falls silent. Raises Forbidden; Conflict where another operator has it, who is named."""
        if not is_staff(identity):
            raise Forbidden(ONLY_STAFF)
        async with self._database.transaction() as db:
            session = await sessions.find_session(db, session_id, locked=True)
            session = (await check(db, identity, session)).session
            if session.status != "active":
                raise Conflict(ARCHIVED)
            if session.operator_id not in (None, identity.user_id):
                raise Conflict("Another operator took over", details={"operator_id": session.operator_id})
            is_news = session.operator_id is None
            session.operator_id = identity.user_id
            session.handover = None
        if is_news:
            self._silence(session_id)
            await notices.tell(self._delivery, session, "operator_joined", identity.user_id)
        return {"session_id": session_id, "operator_id": identity.user_id}

    async def joined(self, identity: Identity, session: ChatSession) -> str | None:
        """An operator who joins takes over, where an agent answers or a person was asked for, and nobody has (SPEC §4).
        Who has it."""
        agent = None if session.agent_id is None else self._agents.get(session.agent_id)
        is_answered = agent is not None and agent.backend is not None
        is_wanted = session.status == "active" and (is_answered or session.handover is not None)
        is_theirs = session.user_id == identity.user_id or not identity.has_role(OPERATOR)
        if session.operator_id is None and is_wanted and not is_theirs:
            try:
                await self.accept(identity, session.session_id)
            except Conflict as taken:
                return str((taken.details or {}).get("operator_id"))
            return identity.user_id
        return session.operator_id

    async def hand_back(self, identity: Identity, session_id: str) -> dict[str, object]:
        """The agent answers again, where there is one. Any of the staff may. Raises Forbidden."""
        if not is_staff(identity):
            raise Forbidden(ONLY_STAFF)
        async with self._database.transaction() as db:
            session = await sessions.find_session(db, session_id, locked=True)
            session = (await check(db, identity, session)).session
            is_news = session.operator_id is not None
            session.operator_id = None
        if is_news:
            await notices.tell(self._delivery, session, "agent_joined", str(session.agent_id or ""))
        return {"session_id": session_id, "operator_id": None}

    async def analyze(self, identity: Identity, session_id: str) -> dict[str, object]:
        """What an operator should know of it, as in the bank seed. Raises Forbidden."""
        async with self._database.reading() as db:
            session = (await access(db, identity, session_id)).session
            return {"session_id": session_id, **await self._analysis(db, session)}

    async def _analysis(self, db: AsyncSession, session: ChatSession) -> dict[str, object]:
        found, _ = await messages.page(db, session.session_id, limit=LOOKED_AT)
        verdicts = [_verdict(message) for message in found if message.sender_type == "agent"]
        people = await sessions.participants(db, session.session_id)
        return analyze(messages.turns(found, people), verdicts).to_wire()


def _verdict(message: Said) -> Verdict:
    details = message.details or {}
    intent, action = details.get("intent"), details.get("suggested_action")
    return Verdict(intent if isinstance(intent, str) else None, action if isinstance(action, str) else CONTINUE)
