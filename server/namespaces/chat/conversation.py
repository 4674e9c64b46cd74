"""What is said in a session: who may say it, who hears it, and who is to answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from server.auth.policy import is_staff, may_use_session
from server.errors import Conflict, Forbidden, InvalidMessage, NotFound
from server.identity import Identity
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.access import ARCHIVED, NO_ACCESS, access, check, open_access
from server.namespaces.chat.agents.backend import Question
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.files import Files
from server.namespaces.chat.messages import Arrival, SessionState, Stored
from server.namespaces.chat.models import ChatMessage, ChatSession, Draft
from server.namespaces.chat.presence import session_room
from server.namespaces.chat.replies import Asked, Replies
from server.namespaces.chat.streams import Listener
from server.namespaces.chat.transcript import Transcript, new_message_id, now
from server.realtime.delivery import Delivery
from server.realtime.others import Body, Others
from server.realtime.rooms import room_name, user_room
from server.storage.database import Database
from server.timestamps import iso_utc

NOT_YOURS = "Only who wrote a message may change it"
MISSED = timedelta(seconds=60)  # who sends something again does it by then; rooms' logs are kept for longer
PREVIEW_CHARS = 100
MOST_OWN = 20_000  # as many events may be held for Redis
OWN = "chat message"  # that nodes ask each other with


def operator_room(tenant: str | None, user_id: str) -> str:
    """The connections on which a user is of the staff."""
    return room_name(tenant, "operator", user_id)


Also = Callable[[AsyncSession], Awaitable[None]]


class Conversation:
    def __init__(
        self,
        database: Database,
        delivery: Delivery,
        transcript: Transcript,
        replies: Replies,
        agents: Mapping[int, Agent],
        files: Files,
        others: Others,
    ) -> None:
        self._database = database
        self._delivery = delivery
        self._transcript = transcript
        self._replies = replies
        self._agents = agents
        self._files = files
        self._others = others
        self._others.on(OWN, self._is_own)
        self._own: OrderedDict[str, None] = OrderedDict()  # messages that this node stores, or has stored

    # -- saying -------------------------------------------------------------------------------------------------

    async def send(
        self,
        identity: Identity,
        session_id: str,
        content: str,
        *,
        message_type: str = "text",
        client_message_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        listener: Listener | None = None,
    ) -> dict[str, object]:
        """Stores a message, then sends it to all who joined the session, the sender's connections among them.
        `listener`: of the agent's answer. Raises Forbidden, Conflict where the session is archived, or where nobody
        would answer a listener."""
        draft = Draft(
            session_id=session_id,
            message_id=new_message_id(),
            sender_type="user",
            sender_id=identity.user_id,
            message_type=message_type,
            content=content,
            metadata=None if metadata is None else dict(metadata),
            client_message_id=client_message_id,
        )
        return await self._post(identity, draft, listener=listener)

    async def attach(
        self,
        identity: Identity,
        session_id: str,
        file_id: str,
        message: str = "",
        *,
        client_message_id: str | None = None,
    ) -> dict[str, object]:
        """Says a file that this user has uploaded to the session. Raises NotFound where there is none that was not
        said yet."""
        async with self._database.reading() as db:
            await open_access(db, identity, session_id)
            file = await self._files.find(db, identity, session_id, file_id, client_message_id)
        draft = Draft(
            session_id=session_id,
            message_id=new_message_id(),
            sender_type="user",
            sender_id=identity.user_id,
            message_type="file",
            content=message or file.file_name,
            metadata={"file": self._files.describe(file)},
            client_message_id=client_message_id,
        )

        async def claim(db: AsyncSession) -> None:
            await self._files.claim(db, identity, session_id, file_id, draft.message_id)

        return await self._post(identity, draft, also=claim)

    async def _post(
        self, identity: Identity, draft: Draft, *, also: Also | None = None, listener: Listener | None = None
    ) -> dict[str, object]:
        def admit(session: SessionState) -> None:
            is_participant = identity.user_id in session.participants
            if not may_use_session(identity, tenant=session.tenant, participant=is_participant):
                raise Forbidden(NO_ACCESS)
            if session.status != "active":
                raise Conflict(ARCHIVED)
            if listener is not None and self._answering(identity, session) is None:
                raise Conflict("No agent answers you in this session")

        self._remember(draft.message_id)
        stored = await self._transcript.post(Arrival(draft, admit, also), self._tell)
        message, session, is_new = stored.message, stored.session, stored.is_new
        if not is_new and now() - message.created_at < MISSED and not await self._is_told(message.message_id):
            room = session_room(session.tenant, session.session_id)
            is_new = await self._delivery.emit_missing("message", message.to_wire(), room=room)
        await self._delivery.flushed()
        if is_new:
            self._ask_agent(identity, session, message, listener)
        return {
            "message_id": message.message_id,
            "seq": message.seq,
            "created_at": iso_utc(message.created_at),
            "status": "sent",
        }

    async def _tell(self, stored: Stored) -> None:
        message, session = stored.message, stored.session
        room = session_room(session.tenant, session.session_id)
        await self._delivery.emit("message", message.to_wire(), room=room)

    def _remember(self, message_id: str) -> None:
        self._own[message_id] = None
        if len(self._own) > MOST_OWN:
            self._own.popitem(last=False)

    async def _is_told(self, message_id: str) -> bool:
        """Or will be, by a node that lives: this one or another."""
        if message_id in self._own:
            return True
        answers = await self._others.ask_all(OWN, {"message_id": message_id})
        return any(answer.get("own") for answer in answers)

    async def _is_own(self, body: Body) -> Body:
        return {"own": body["message_id"] in self._own}

    async def notify(self, stored: Stored) -> None:
        """Those who take part, but not the sender, on their connections that have not joined the session."""
        message, session = stored.message, stored.session
        sender = message.sender_id if message.sender_type == "user" else None
        rooms = [user_room(session.tenant, each) for each in session.participants if each != sender]
        if session.operator_id not in (None, sender):
            rooms.append(operator_room(session.tenant, session.operator_id))
        if rooms:
            skip = (session_room(session.tenant, session.session_id),)
            await self._delivery.emit("notification", _notification(message), room=rooms, skip=skip)

    # -- who answers --------------------------------------------------------------------------------------------

    def _answering(self, identity: Identity, session: SessionState) -> Agent | None:
        """The agent that answers this user: none while an operator does, and none answers staff, who are here to answer
        themselves."""
        if session.operator_id is not None or session.agent_id is None:
            return None
        if is_staff(identity) and identity.user_id != session.owner:
            return None
        agent = self._agents.get(session.agent_id)
        return None if agent is None or agent.backend is None else agent

    def _ask_agent(
        self, identity: Identity, session: SessionState, message: ChatMessage, listener: Listener | None
    ) -> None:
        agent = self._answering(identity, session)
        if agent is None or agent.backend is None or message.message_type != "text":
            return
        question = Question(session.session_id, identity.user_id, message.content or "")
        room = session_room(session.tenant, session.session_id)
        self._replies.ask(Asked(agent.id, agent.backend, question, room, message.seq), listener)

    # -- changing what was said ---------------------------------------------------------------------------------

    async def edit(self, identity: Identity, session_id: str, message_id: str, content: str) -> dict[str, object]:
        """Raises Forbidden, NotFound, or Conflict where there is no text to change."""

        def change(message: ChatMessage) -> None:
            if message.message_type != "text":
                raise Conflict("Only texts can be edited")
            message.content = content
            message.is_edited = True
            message.edited_at = now()

        message = await self._change(identity, session_id, message_id, change, "message_edited", ChatMessage.to_wire)
        return {"message_id": message_id, "seq": message.seq, "edited_at": iso_utc(message.edited_at)}

    async def delete(self, identity: Identity, session_id: str, message_id: str) -> dict[str, object]:
        """Its place stays, so that there is no gap; its text and its file are gone. Raises Forbidden or NotFound."""
        deleted_at = iso_utc(now())

        def change(message: ChatMessage) -> None:
            message.content = None
            message.details = {"deleted_at": deleted_at}

        def told(message: ChatMessage) -> dict[str, object]:
            return {
                "session_id": session_id,
                "message_id": message_id,
                "seq": message.seq,
                "user_id": identity.user_id,
                "deleted_at": deleted_at,
            }

        async def forget(db: AsyncSession, session: ChatSession) -> None:
            await self._files.revoke(db, message_id)
            if session.handover is not None:  # it may quote what was said
                session.handover = {**session.handover, "summary": "", "keywords": []}

        message = await self._change(identity, session_id, message_id, change, "message_deleted", told, forget)
        return {"message_id": message_id, "seq": message.seq, "deleted_at": deleted_at}

    async def _change(
        self,
        identity: Identity,
        session_id: str,
        message_id: str,
        change: Callable[[ChatMessage], None],
        event: str,
        told: Callable[[ChatMessage], Mapping[str, object]],
        also: Callable[[AsyncSession, ChatSession], Awaitable[None]] | None = None,
    ) -> ChatMessage:
        async with self._transcript.still(session_id):
            async with self._database.transaction() as db:
                found = await sessions.find_session(db, session_id, locked=True)
                session = (await check(db, identity, found)).session
                if session.status != "active":
                    raise Conflict(ARCHIVED)
                message = await messages.find(db, session_id, message_id)
                if message is None or message.content is None:
                    raise NotFound("No such message")
                if message.sender_type != "user" or message.sender_id != identity.user_id:
                    raise Forbidden(NOT_YOURS)
                change(message)
                messages.changed(message)
                if also is not None:
                    await also(db, session)
            room = session_room(session.tenant, session_id)
            await self._delivery.emit(event, told(message), room=room)
        await self._delivery.flushed()
        return message

    # -- reading ------------------------------------------------------------------------------------------------

    async def read(self, identity: Identity, session_id: str, seq: int) -> dict[str, object]:
        """This user has read all up to `seq`: nobody goes back. Staff who are no participants leave no trace."""
        async with self._database.transaction() as db:
            found = await access(db, identity, session_id)
            seq = min(seq, found.session.last_seq)
            is_news = found.is_participant and await sessions.read(db, session_id, identity.user_id, seq)
            last_read = await sessions.last_read(db, session_id, identity.user_id) if found.is_participant else seq
        if is_news:
            payload = {"session_id": session_id, "user_id": identity.user_id, "seq": seq}
            await self._delivery.emit("read", payload, room=session_room(found.session.tenant, session_id))
        return {
            "session_id": session_id,
            "last_read_seq": last_read,
            "unread_count": max(0, found.session.last_seq - last_read),
        }

    async def history(
        self, identity: Identity, session_id: str, *, limit: int, before: str | None = None, after: str | None = None
    ) -> dict[str, object]:
        """A page in seq order: the oldest after `after`, else the newest before `before`. Each is a time, a message's
        id or a seq. Raises Forbidden, InvalidMessage."""
        async with self._database.reading() as db:
            session = (await access(db, identity, session_id)).session
            least = None if after is None else await self._place(db, session_id, "after", after)
            most = None if before is None else await self._place(db, session_id, "before", before)
            found, has_more = await messages.page(db, session_id, after=least, before=most, limit=limit)
        return {
            "messages": [message.to_wire() for message in found],
            "has_more": has_more,
            "total": session.last_seq,
        }

    async def _place(self, db: AsyncSession, session_id: str, name: str, text: str) -> int | datetime:
        if text.isascii() and text.isdigit() and len(text) <= 15:
            return int(text)
        if text.startswith("msg_"):
            message = await messages.find(db, session_id, text)
            if message is not None:
                return message.seq
        else:
            try:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is not None:
                    return moment.astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise InvalidMessage(details={name: ["Not a time with a zone, a message's id, or a seq."]})


def _notification(message: ChatMessage) -> dict[str, object]:
    return {
        "event": "message",
        "session_id": message.session_id,
        "message_id": message.message_id,
        "seq": message.seq,
        "sender_type": message.sender_type,
        "sender_id": message.sender_id,
        "message_type": message.message_type,
        "content": (message.content or "")[:PREVIEW_CHARS],
        "created_at": iso_utc(message.created_at),
    }
