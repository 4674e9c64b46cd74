"""Queries on messages: stored under the session's next seq, and read in its order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from server.namespaces.chat.models import ChatMessage, ChatSession, Draft


async def append(db: AsyncSession, draft: Draft, clock: Callable[[], datetime]) -> tuple[ChatMessage, bool] | None:
    """Stores a message at the session's next seq: (message, whether it is new), or None without such a session.

    A draft whose sender has used its `client_message_id` before is not stored; the first message is returned. The
    session's row stays locked until the transaction ends, so there are no gaps and, over all nodes, no two alike.
    """
    of_session = ChatSession.session_id == draft.session_id
    if draft.client_message_id is not None:
        await db.execute(select(ChatSession.id).where(of_session).with_for_update())
        first = await db.scalar(
            select(ChatMessage).where(
                ChatMessage.session_id == draft.session_id,
                ChatMessage.sender_id == draft.sender_id,
                ChatMessage.client_message_id == draft.client_message_id,
            )
        )
        if first is not None:
            return first, False
    created_at = clock()
    seq = await db.scalar(
        update(ChatSession)
        .where(of_session)
        .values(last_seq=ChatSession.last_seq + 1, updated_at=created_at)
        .returning(ChatSession.last_seq)
        .execution_options(synchronize_session=False)
    )
    if seq is None:
        return None
    message = ChatMessage(
        session_id=draft.session_id,
        seq=seq,
        message_id=draft.message_id,
        client_message_id=draft.client_message_id,
        sender_type=draft.sender_type,
        sender_id=draft.sender_id,
        message_type=draft.message_type,
        content=draft.content,
        details=draft.metadata,
        tokens_used=draft.tokens_used,
        latency_ms=draft.latency_ms,
        created_at=created_at,
    )
    db.add(message)
    await db.flush()
    return message, True


async def messages_after(
    db: AsyncSession, session_id: str, after_seq: int, limit: int
) -> tuple[list[ChatMessage], bool]:
    """The oldest after `after_seq`, and whether there are more after them."""
    query = select(ChatMessage).where(ChatMessage.session_id == session_id, ChatMessage.seq > after_seq)
    found = list(await db.scalars(query.order_by(ChatMessage.seq).limit(limit + 1)))
    return found[:limit], len(found) > limit


async def newest_messages(db: AsyncSession, session_id: str, limit: int) -> tuple[list[ChatMessage], bool]:
    """The newest, in seq order, and whether there are older ones."""
    query = select(ChatMessage).where(ChatMessage.session_id == session_id)
    found = list(await db.scalars(query.order_by(ChatMessage.seq.desc()).limit(limit + 1)))
    return found[:limit][::-1], len(found) > limit
