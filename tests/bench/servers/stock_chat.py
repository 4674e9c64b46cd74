"""Chat the usual way, on python-socketio as it comes, aiohttp and uvloop: what a message needs is loaded as objects,
changed and committed before the next: `python -m ... PORT SECRET DATABASE_URL`.

Atrium's tables, pool, pragmas and its fair line of SQLite's writers, and what a message stores is the same. Who is to
be notified outside the session is left out.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import jwt
import socketio
import uvloop
from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession
from server.namespaces.chat.search import bigrams
from server.settings import load
from server.storage.database import Database

NAMESPACE = "/chat"
HISTORY = 200


class Join(Schema):
    session_id = fields.String(required=True, validate=validate.Length(1, 100))
    after_seq = fields.Integer(required=True, strict=True)


class Message(Schema):
    session_id = fields.String(required=True, validate=validate.Length(1, 100))
    content = fields.String(required=True, validate=validate.Length(1, 65_536))
    client_message_id = fields.String(required=True, validate=validate.Length(1, 100))


class Refused(Exception):
    pass


class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
    def __init__(self, database: Database, secret: str) -> None:
        super().__init__(NAMESPACE)
        self.database = database
        self.secret = secret

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        try:
            claims = jwt.decode(auth["token"], self.secret, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise socketio.exceptions.ConnectionRefusedError("invalid token") from error
        await self.save_session(sid, {"user_id": claims["sub"]})

    async def on_join(self, sid: str, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            wanted = Join().load(payload)
            async with self.database.reading() as db:
                session, _ = await self.admitted(db, sid, wanted["session_id"])
                query = (
                    select(ChatMessage)
                    .where(ChatMessage.session_id == session.session_id, ChatMessage.seq > wanted["after_seq"])
                    .order_by(ChatMessage.seq)
                    .limit(HISTORY + 1)
                )
                messages = (await db.scalars(query)).all()
                people = (await db.scalars(select(ChatParticipant).filter_by(session_id=session.session_id))).all()
        except (ValidationError, Refused) as error:
            return {"ok": False, "error": str(error)}
        await self.enter_room(sid, session.session_id)
        return {
            "ok": True,
            "session": session.to_wire(),
            "participants": [each.user_id for each in people],
            "messages": [each.to_wire() for each in messages[:HISTORY]],
            "last_seq": session.last_seq,
            "has_more": len(messages) > HISTORY,
        }

    async def on_message(self, sid: str, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            wanted = Message().load(payload)
            async with self.database.transaction() as db:
                message, is_new = await self.stored(db, sid, **wanted)
        except (ValidationError, Refused) as error:
            return {"ok": False, "error": str(error)}
        told = message.to_wire()
        if is_new:
            await self.emit("message", told, room=message.session_id)
        return {"ok": True, "status": "sent", **{name: told[name] for name in ("message_id", "seq", "created_at")}}

    async def stored(
        self, db: AsyncSession, sid: str, session_id: str, content: str, client_message_id: str
    ) -> tuple[ChatMessage, bool]:
        session, participant = await self.admitted(db, sid, session_id, locked=True)
        key = {"session_id": session_id, "sender_id": participant.user_id, "client_message_id": client_message_id}
        if (first := await db.scalar(select(ChatMessage).filter_by(**key))) is not None:
            return first, False
        message = ChatMessage(
            **key,
            seq=session.last_seq + 1,
            message_id=f"msg_{uuid.uuid4().hex}",
            sender_type="user",
            message_type="text",
            content=content,
            bigrams=bigrams(content),
            is_edited=False,
            created_at=datetime.now(UTC),
        )
        db.add(message)
        session.last_seq = participant.last_read_seq = message.seq
        session.updated_at = message.created_at
        return message, True

    async def admitted(
        self, db: AsyncSession, sid: str, session_id: str, *, locked: bool = False
    ) -> tuple[ChatSession, ChatParticipant]:
        query = select(ChatSession).filter_by(session_id=session_id)
        session = await db.scalar(query.with_for_update() if locked else query)
        user_id = (await self.get_session(sid))["user_id"]
        participant = await db.scalar(select(ChatParticipant).filter_by(session_id=session_id, user_id=user_id))
        if session is None or participant is None or session.status != "active":
            raise Refused("You may not use this session")
        return session, participant


async def serve(port: int, secret: str, database_url: str) -> None:
    url = load({"JWT_SECRET_KEY": secret, "DATABASE_URL": database_url}).database_url
    server = socketio.AsyncServer(async_mode="aiohttp")
    server.register_namespace(Chat(Database(url), secret))
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("READY", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
