"""Queries on sessions and their participants; who may see what is `access`'s business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions: of a tenant, and of a participant where one is named; `before`: of last activity and id, those
    that come behind it; `handover`: only those that wait for a person."""

    tenant: str | None
    user_id: str | None
    status: str | None = None
    agent_id: int | None = None
    before: tuple[datetime, int] | None = None
    handover: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """`unread` are those that the user has not read: 0 for who is no participant."""

    session: ChatSession
    last_message: ChatMessage | None
    unread: int


async def find_session(db: AsyncSession, session_id: str, *, locked: bool = False) -> ChatSession | None:
    """`locked` until the transaction ends."""
    query = select(ChatSession).where(ChatSession.session_id == session_id)
    found: ChatSession | None = await db.scalar(query.with_for_update() if locked else query)
    return found


async def create_session(db: AsyncSession, session: ChatSession) -> None:
    """With its owner as participant. Raises IntegrityError when the id is taken."""
    db.add(session)
    await db.flush()
    db.add(ChatParticipant(session_id=session.session_id, user_id=session.user_id, joined_at=session.created_at))


async def count(db: AsyncSession, wanted: Wanted) -> int:
    return int(await db.scalar(_matching(select(func.count()).select_from(ChatSession), wanted)) or 0)


async def page(db: AsyncSession, wanted: Wanted, reader: str, *, limit: int, offset: int) -> tuple[list[Listed], bool]:
    """The most recently used first, as `reader` sees them, and whether there are more."""
    query = _matching(select(ChatSession), wanted).order_by(ChatSession.updated_at.desc(), ChatSession.id.desc())
    if wanted.before is not None:
        moment, id = wanted.before
        is_older = ChatSession.updated_at < moment
        query = query.where(or_(is_older, and_(ChatSession.updated_at == moment, ChatSession.id < id)))
    found = list(await db.scalars(query.limit(limit + 1).offset(offset)))
    shown = found[:limit]
    newest = await _newest_messages(db, shown)
    ids = [session.session_id for session in shown]
    rows = await db.execute(
        select(ChatParticipant.session_id, ChatParticipant.last_read_seq).where(
            ChatParticipant.session_id.in_(ids), ChatParticipant.user_id == reader
        )
    )
    read_up_to = {row.session_id: row.last_read_seq for row in rows}
    return [
        Listed(
            session,
            newest.get(session.session_id),
            session.last_seq - read_up_to.get(session.session_id, session.last_seq),
        )
        for session in shown
    ], len(found) > limit


async def _newest_messages(db: AsyncSession, shown: Sequence[ChatSession]) -> dict[str, ChatMessage]:
    if not shown:
        return {}
    newest = or_(
        *(and_(ChatMessage.session_id == session.session_id, ChatMessage.seq == session.last_seq) for session in shown)
    )
    return {message.session_id: message for message in await db.scalars(select(ChatMessage).where(newest))}


def _matching(query: Select[Any], wanted: Wanted) -> Select[Any]:
    tenant = ChatSession.tenant
    query = query.where(tenant.is_(None) if wanted.tenant is None else tenant == wanted.tenant)
    if wanted.user_id is not None:
        theirs = select(ChatParticipant.session_id).where(ChatParticipant.user_id == wanted.user_id)
        query = query.where(ChatSession.session_id.in_(theirs))
    if wanted.status is not None:
        query = query.where(ChatSession.status == wanted.status)
    else:
        query = query.where(ChatSession.status != "deleted")
    if wanted.agent_id is not None:
        query = query.where(ChatSession.agent_id == wanted.agent_id)
    if wanted.handover:
        query = query.where(ChatSession.handover.is_not(None))
    return query


# -- participants -----------------------------------------------------------------------------------------------


async def is_participant(db: AsyncSession, session_id: str, user_id: str) -> bool:
    return await last_read(db, session_id, user_id) >= 0


async def participants(db: AsyncSession, session_id: str) -> list[str]:
    """In the order they were let in: the owner first."""
    return [each.user_id for each in await participant_rows(db, session_id)]


async def participant_rows(db: AsyncSession, session_id: str) -> list[ChatParticipant]:
    query = select(ChatParticipant).where(ChatParticipant.session_id == session_id)
    return list(await db.scalars(query.order_by(ChatParticipant.id)))


async def last_read(db: AsyncSession, session_id: str, user_id: str) -> int:
    """-1 for who is no participant."""
    seq = await db.scalar(
        select(ChatParticipant.last_read_seq).where(
            ChatParticipant.session_id == session_id, ChatParticipant.user_id == user_id
        )
    )
    return -1 if seq is None else int(seq)


async def read(db: AsyncSession, session_id: str, user_id: str, seq: int) -> bool:
    """Whether they had not read as far before."""
    changed = await db.scalar(
        update(ChatParticipant)
        .where(
            ChatParticipant.session_id == session_id,
            ChatParticipant.user_id == user_id,
            ChatParticipant.last_read_seq < seq,
        )
        .values(last_read_seq=seq)
        .returning(ChatParticipant.id)
        .execution_options(synchronize_session=False)
    )
    return changed is not None
