"""Queries on messages: stored under the session's next seq, and read in its order."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TypeVar

import orjson
from sqlalchemy import Executable, bindparam, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from server.errors import AtriumError, Conflict, Forbidden
from server.namespaces.chat.access import NO_ACCESS
from server.namespaces.chat.agents.backend import Turn
from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession, Draft, Said
from server.namespaces.chat.search import bigrams

MOMENT = timedelta(milliseconds=1)  # what times are told to
PAGE_BYTES = 512 * 1024  # of text: a reader's outbox has room for twice as much

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as its row and its participants are while a message is stored in it; `owner` is one of these."""

    session_id: str
    tenant: str | None
    owner: str
    status: str
    agent_id: int | None
    operator_id: str | None
    participants: Sequence[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in its session. Not `is_new`: its sender had used the `client_message_id` before, and this is what was
    stored then."""

    message: ChatMessage
    session: SessionState
    is_new: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """`admit` raises AtriumError where the message may not be stored in this session; `also` is done in the same
    transaction, once it is stored."""

    draft: Draft
    admit: Callable[[SessionState], None]
    also: Callable[[AsyncSession], Awaitable[None]] | None = None


async def append(
    db: AsyncSession, arrivals: Sequence[Arrival], clock: Callable[[], datetime]
) -> list[Stored | AtriumError]:
    """Stores messages at their sessions' next seqs, in this order; what became of each. A session that is not there
    admits nobody: Forbidden.

    The sessions' rows stay locked until the transaction ends, so there are no gaps and, over all nodes, no two alike.
    Six statements, however many messages: on a commit and a round trip of their own each they would cost ten times
    as much. In a session each message is younger than the one before it, by a millisecond at least.
    """
    rows = await _lock(db, {arrival.draft.session_id for arrival in arrivals})
    known = await _known(db, [arrival.draft for arrival in arrivals])
    found: list[Stored | AtriumError] = []
    new: list[Arrival] = []
    inserts: list[dict[str, object]] = []
    newest: dict[str, tuple[int, datetime]] = {}
    for arrival in arrivals:
        draft = arrival.draft
        row = rows.get(draft.session_id)
        key = (draft.session_id, draft.sender_id, draft.client_message_id)
        first = known.get(key)
        try:
            if row is None:
                raise Forbidden(NO_ACCESS)
            arrival.admit(row.state)
        except Conflict as error:  # it may not be said now, and was said before
            found.append(error if first is None or row is None else Stored(first, row.state, is_new=False))
            continue
        except AtriumError as error:
            found.append(error)
            continue
        if first is not None:
            found.append(Stored(first, row.state, is_new=False))
            continue
        seq, before = newest.get(draft.session_id, (row.last_seq, row.updated_at))
        message = _message(draft, seq + 1, max(clock(), before + MOMENT))
        newest[draft.session_id] = (message.seq, message.created_at)
        if draft.client_message_id is not None:
            known[key] = message
        found.append(Stored(message, row.state, is_new=True))
        new.append(arrival)
        inserts.append(_columns(message))
    if newest:
        changes = [{"of": id, "seq": seq, "at": at} for id, (seq, at) in sorted(newest.items())]
        await (await db.connection()).execute(_ADVANCE, changes)
        await (await db.connection()).execute(insert(ChatMessage), inserts)
        said = [each for each in inserts if each["sender_type"] == "user"]
        readers = {(each["session_id"], each["sender_id"]): each["seq"] for each in said}
        reads = [{"of": id, "who": user_id, "seq": seq} for (id, user_id), seq in sorted(readers.items())]
        if reads:
            await (await db.connection()).execute(_READ, reads)
    for arrival in new:
        if arrival.also is not None:
            await arrival.also(db)
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    state: SessionState
    last_seq: int
    updated_at: datetime


_ADVANCE = (
    update(ChatSession)
    .where(ChatSession.session_id == bindparam("of"))
    .values(last_seq=bindparam("seq"), updated_at=bindparam("at"))
)
_READ = (
    update(ChatParticipant)
    .where(ChatParticipant.session_id == bindparam("of"), ChatParticipant.user_id == bindparam("who"))
    .values(last_read_seq=bindparam("seq"))
)


_SESSIONS = (
    select(
        ChatSession.session_id,
        ChatSession.tenant,
        ChatSession.user_id,
        ChatSession.status,
        ChatSession.agent_id,
        ChatSession.operator_id,
        ChatSession.last_seq,
        ChatSession.updated_at,
    )
    .where(ChatSession.session_id.in_(bindparam("ids", expanding=True)))
    .order_by(ChatSession.session_id)
    .with_for_update()
)
_PEOPLE = (
    select(ChatParticipant.session_id, ChatParticipant.user_id)
    .where(ChatParticipant.session_id.in_(bindparam("ids", expanding=True)))
    .order_by(ChatParticipant.id)
)


def _named(rows: str, *parts: str) -> Executable:
    """One name after the other, by the index: given a list of them, SQLite would read the whole table."""
    session, sender, name = parts
    return select(ChatMessage).from_statement(
        text(
            f"SELECT said.* FROM {rows} AS name CROSS JOIN chat_messages AS said WHERE said.session_id = {session}"  # noqa: S608
            f" AND said.sender_id = {sender} AND said.client_message_id = {name}"
        )
    )


_KNOWN = {
    "sqlite": _named("json_each(:names)", *(f"json_extract(name.value, '$[{i}]')" for i in range(3))),
    "postgresql": _named("json_array_elements(CAST(:names AS json))", *(f"name.value ->> {i}" for i in range(3))),
}


async def _lock(db: AsyncSession, session_ids: Collection[str]) -> dict[str, _Row]:
    """In one order on all nodes, so that none waits for one that waits for it."""
    wanted = {"ids": _padded(sorted(session_ids))}
    people: dict[str, list[str]] = {}
    connection = await db.connection()
    rows = await connection.execute(_SESSIONS, wanted)
    participants = await connection.execute(_PEOPLE, wanted)
    for session_id, user_id in participants:
        people.setdefault(session_id, []).append(user_id)
    return {
        row.session_id: _Row(
            SessionState(
                row.session_id,
                row.tenant,
                row.user_id,
                row.status,
                row.agent_id,
                row.operator_id,
                people.get(row.session_id, ()),
            ),
            row.last_seq,
            row.updated_at,
        )
        for row in rows
    }


async def _known(db: AsyncSession, drafts: Sequence[Draft]) -> dict[tuple[str, str, str | None], ChatMessage]:
    """The messages whose senders have used these `client_message_id`s before."""
    names = [
        (draft.session_id, draft.sender_id, draft.client_message_id)
        for draft in drafts
        if draft.client_message_id is not None
    ]
    if not names:
        return {}
    found = await db.scalars(_KNOWN[db.get_bind().dialect.name], {"names": orjson.dumps(names).decode()})
    return {(each.session_id, each.sender_id, each.client_message_id): each for each in found}


def _padded(values: list[T]) -> list[T]:
    """To a power of two, by the last: the statement's text is one of few, which drivers keep prepared."""
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))


def _message(draft: Draft, seq: int, created_at: datetime) -> ChatMessage:
    return ChatMessage(
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
        is_edited=False,
        created_at=created_at,
    )


def _columns(message: ChatMessage) -> dict[str, object]:
    return {
        "session_id": message.session_id,
        "seq": message.seq,
        "message_id": message.message_id,
        "client_message_id": message.client_message_id,
        "sender_type": message.sender_type,
        "sender_id": message.sender_id,
        "message_type": message.message_type,
        "content": message.content,
        "bigrams": bigrams(message.content or ""),
        "metadata": message.details,
        "tokens_used": message.tokens_used,
        "latency_ms": message.latency_ms,
        "created_at": message.created_at,
    }


async def find(db: AsyncSession, session_id: str, message_id: str) -> ChatMessage | None:
    query = select(ChatMessage).where(ChatMessage.session_id == session_id, ChatMessage.message_id == message_id)
    found: ChatMessage | None = await db.scalar(query)
    return found


def changed(message: ChatMessage) -> None:
    """Search finds it by what it says now."""
    message.bigrams = None if message.content is None else bigrams(message.content)


_TABLE = ChatMessage.__table__.c
READ = [_TABLE["metadata" if field.name == "details" else field.name] for field in fields(Said)]


async def page(
    db: AsyncSession,
    session_id: str,
    *,
    after: int | datetime | None = None,
    before: int | datetime | None = None,
    limit: int,
) -> tuple[list[Said], bool]:
    """Messages in seq order, between two seqs or times: the oldest after `after`, else the newest, `limit` of them or
    some PAGE_BYTES; and whether there are more on that way."""
    query = select(*READ).where(ChatMessage.session_id == session_id)
    if after is not None:
        query = query.where((ChatMessage.seq if isinstance(after, int) else ChatMessage.created_at) > after)
    if before is not None:
        query = query.where((ChatMessage.seq if isinstance(before, int) else ChatMessage.created_at) < before)
    order = ChatMessage.seq.desc() if after is None else ChatMessage.seq
    rows = await (await db.connection()).execute(query.order_by(order).limit(limit + 1))
    found = [Said(*row) for row in rows]
    sizes = itertools.accumulate(len((message.content or "").encode()) for message in found)
    fitting = sum(size <= PAGE_BYTES for size in sizes)
    shown = found[: min(limit, max(1, fitting))]
    return shown[::-1] if after is None else shown, len(found) > len(shown)


def turns(found: Sequence[Said], participants: Collection[str]) -> list[Turn]:
    """What was said, as agents see it: who takes no part in the session and speaks in it is of the staff."""
    said = []
    for message in found:
        if message.message_type == "text" and message.content:
            if message.sender_type == "agent":
                said.append(Turn("agent", message.content))
            else:
                said.append(Turn("user" if message.sender_id in participants else "operator", message.content))
    return said
