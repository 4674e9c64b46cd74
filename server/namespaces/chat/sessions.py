"""Queries on sessions and their participants; who may see what is `access`'s business."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from server.namespaces.chat.models import ChatParticipant, ChatSession


async def find_session(db: AsyncSession, session_id: str) -> ChatSession | None:
    found: ChatSession | None = await db.scalar(select(ChatSession).where(ChatSession.session_id == session_id))
    return found


async def is_participant(db: AsyncSession, session_id: str, user_id: str) -> bool:
    found = await db.scalar(
        select(ChatParticipant.id).where(ChatParticipant.session_id == session_id, ChatParticipant.user_id == user_id)
    )
    return found is not None


async def participants(db: AsyncSession, session_id: str) -> list[str]:
    """In the order they were let in: the owner first."""
    found = await db.scalars(
        select(ChatParticipant.user_id).where(ChatParticipant.session_id == session_id).order_by(ChatParticipant.id)
    )
    return list(found)


async def create_session(db: AsyncSession, session: ChatSession) -> None:
    """With its owner as participant. Raises IntegrityError when the id is taken."""
    db.add(session)
    await db.flush()
    db.add(ChatParticipant(session_id=session.session_id, user_id=session.user_id, joined_at=session.created_at))
