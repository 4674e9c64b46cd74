"""The tables of chat; queries on them are in `sessions` and `messages`.

Columns, types, checks and index names are those of the chat seed; `seq`, `client_message_id`, `last_seq`, `tenant`
and the participants are SPEC §4's. A session id is unique over all tenants, as in the seed: the id of another
tenant's session is simply one that may not be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from server.storage.database import Model, Moment
from server.timestamps import iso_utc

NOW = func.current_timestamp()
JsonObject = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

SESSION_STATUSES = ("active", "archived", "deleted")
SENDER_TYPES = ("user", "agent", "system")
MESSAGE_TYPES = ("text", "stream", "file", "system")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class ChatSession(Model):
    __tablename__ = "chat_sessions"
    __table_args__ = (
        CheckConstraint(_one_of("status", SESSION_STATUSES), name="check_status"),
        Index("idx_chat_sessions_user_id", "user_id"),
        Index("idx_chat_sessions_agent_id", "agent_id"),
        Index("idx_chat_sessions_trace_id", "trace_id"),
        Index("idx_chat_sessions_status", "status"),
        Index("idx_chat_sessions_activity", "tenant", "updated_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(String(100), unique=True)
    trace_id: Mapped[str | None] = mapped_column(String(100), unique=True)
    tenant: Mapped[str | None] = mapped_column(String(100))
    user_id: Mapped[str] = mapped_column(String(100))
    agent_id: Mapped[int | None]
    title: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="active", server_default="active")
    details: Mapped[dict[str, object] | None] = mapped_column("metadata", JsonObject)
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    operator_id: Mapped[str | None] = mapped_column(String(100))  # who took over from the agent
    handover: Mapped[dict[str, object] | None] = mapped_column(JsonObject)  # what was asked of operators, and is open
    created_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)

    def to_wire(self) -> dict[str, object]:
        """The session of the seed's REST, less what is not in this row."""
        return {
            "session_id": self.session_id,
            "trace_id": self.trace_id,
            "user_id": self.user_id,
            "agent_id": self.agent_id,
            "title": self.title,
            "status": self.status,
            "metadata": self.details or {},
            "message_count": self.last_seq,
            "created_at": iso_utc(self.created_at),
            "last_activity": iso_utc(self.updated_at),
        }


class ChatParticipant(Model):
    """A user who may enter a session: its owner, and who was invited. Operators enter by their role."""

    __tablename__ = "chat_participants"
    __table_args__ = (
        UniqueConstraint("session_id", "user_id"),
        Index("idx_chat_participants_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(String(100), ForeignKey("chat_sessions.session_id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(100))
    last_read_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    joined_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)


class ChatMessage(Model):
    __tablename__ = "chat_messages"
    __table_args__ = (
        CheckConstraint(_one_of("sender_type", SENDER_TYPES), name="check_sender_type"),
        CheckConstraint(_one_of("message_type", MESSAGE_TYPES), name="check_message_type"),
        UniqueConstraint("session_id", "seq"),
        UniqueConstraint("session_id", "sender_id", "client_message_id"),
        Index("idx_chat_messages_session_id", "session_id"),
        Index("idx_chat_messages_sender_id", "sender_id"),
        Index("idx_chat_messages_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(String(100), ForeignKey("chat_sessions.session_id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[str] = mapped_column(String(100), unique=True)
    client_message_id: Mapped[str | None] = mapped_column(String(100))
    sender_type: Mapped[str] = mapped_column(String(20))
    sender_id: Mapped[str] = mapped_column(String(100))
    message_type: Mapped[str] = mapped_column(String(20))
    content: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, object] | None] = mapped_column("metadata", JsonObject)
    tokens_used: Mapped[int | None]
    latency_ms: Mapped[int | None]
    bigrams: Mapped[str | None] = mapped_column(Text, deferred=True)  # what search looks into
    is_edited: Mapped[bool] = mapped_column(default=False, server_default=false())
    edited_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)

    def to_wire(self) -> dict[str, object]:
        """The `message` event."""
        return Said(
            self.message_id,
            self.session_id,
            self.seq,
            self.sender_type,
            self.sender_id,
            self.message_type,
            self.content,
            self.details,
            self.tokens_used,
            self.latency_ms,
            self.is_edited,
            self.edited_at,
            self.created_at,
        ).to_wire()


@dataclass(slots=True)
class Said:
    """A message to read: a page of them costs half of what rows of the ORM do. In the order of `messages.READ`."""

    message_id: str
    session_id: str
    seq: int
    sender_type: str
    sender_id: str
    message_type: str
    content: str | None
    details: dict[str, object] | None
    tokens_used: int | None
    latency_ms: int | None
    is_edited: bool | None
    edited_at: datetime | None
    created_at: datetime

    def to_wire(self) -> dict[str, object]:
        """The `message` event (SPEC §4); as in the seed, what an answer cost is in its metadata."""
        metadata = dict(self.details or {})
        if self.tokens_used is not None:
            metadata["tokens_used"] = self.tokens_used
        if self.latency_ms is not None:
            metadata["latency_ms"] = self.latency_ms
        if self.is_edited:
            metadata["edited_at"] = None if self.edited_at is None else iso_utc(self.edited_at)
        return {
            "message_id": self.message_id,
            "session_id": self.session_id,
            "seq": self.seq,
            "sender_type": self.sender_type,
            "sender_id": self.sender_id,
            "message_type": self.message_type,
            "content": self.content or "",
            "metadata": metadata,
            "created_at": iso_utc(self.created_at),
        }


class ChatFile(Model):
    __tablename__ = "chat_files"
    __table_args__ = (
        Index("idx_chat_files_message_id", "message_id"),
        Index("idx_chat_files_uploaded_by", "uploaded_by"),
        Index("idx_chat_files_uploaded_at", "uploaded_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str | None] = mapped_column(
        String(100), ForeignKey("chat_messages.message_id", ondelete="CASCADE")
    )
    session_id: Mapped[str | None] = mapped_column(
        String(100), ForeignKey("chat_sessions.session_id", ondelete="CASCADE")
    )
    file_id: Mapped[str] = mapped_column(String(100), unique=True)
    file_name: Mapped[str] = mapped_column(String(255))
    file_type: Mapped[str | None] = mapped_column(String(100))
    file_size: Mapped[int | None]
    file_url: Mapped[str | None] = mapped_column(String(500))
    thumbnail_url: Mapped[str | None] = mapped_column(String(500))
    uploaded_by: Mapped[str | None] = mapped_column(String(100))
    uploaded_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)


class ChatUpload(Model):
    """A file that comes in chunks, until it is whole."""

    __tablename__ = "chat_uploads"
    __table_args__ = (Index("idx_chat_uploads_updated_at", "updated_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(String(100), unique=True)
    session_id: Mapped[str] = mapped_column(String(100), ForeignKey("chat_sessions.session_id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(100))
    file_name: Mapped[str] = mapped_column(String(255))
    file_type: Mapped[str] = mapped_column(String(100))
    file_size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Moment, server_default=NOW)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has its place in the session."""

    session_id: str
    message_id: str
    sender_type: str
    sender_id: str
    message_type: str
    content: str
    metadata: dict[str, object] | None = None
    client_message_id: str | None = None
    tokens_used: int | None = None
    latency_ms: int | None = None
