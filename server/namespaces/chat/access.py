"""Who may use which session; in the same words for a session of others as for none (SPEC §4)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from server.auth.policy import may_use_session
from server.errors import Conflict, Forbidden
from server.identity import Identity
from server.namespaces.chat import sessions
from server.namespaces.chat.models import ChatSession

NO_ACCESS = "You may not use this session"
ARCHIVED = "The session is archived"


@dataclass(frozen=True, slots=True)
class Access:
    """A user and a session that is open to them. Staff enter by their role, and may be participants besides."""

    session: ChatSession
    is_participant: bool


async def access(db: AsyncSession, identity: Identity, session_id: str) -> Access:
    """Raises Forbidden."""
    return await check(db, identity, await sessions.find_session(db, session_id))


async def open_access(db: AsyncSession, identity: Identity, session_id: str) -> Access:
    """To a session that something may be said in. Raises Forbidden, Conflict."""
    found = await access(db, identity, session_id)
    if found.session.status != "active":
        raise Conflict(ARCHIVED)
    return found


async def check(db: AsyncSession, identity: Identity, session: ChatSession | None) -> Access:
    """Raises Forbidden."""
    if session is not None:
        is_participant = await sessions.is_participant(db, session.session_id, identity.user_id)
        if may_use_session(identity, tenant=session.tenant, participant=is_participant):
            return Access(session, is_participant)
    raise Forbidden(NO_ACCESS)
