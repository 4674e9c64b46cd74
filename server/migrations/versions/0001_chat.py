"""The tables of chat: sessions, participants, messages, files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.func.current_timestamp()
JSON_OBJECT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "chat_sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("trace_id", sa.String(length=100), nullable=True),
        sa.Column("tenant", sa.String(length=100), nullable=True),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("agent_id", sa.Integer(), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="active", nullable=False),
        sa.Column("metadata", JSON_OBJECT, nullable=True),
        sa.Column("last_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.Column("ended_at", sa.TIMESTAMP(), nullable=True),
        sa.CheckConstraint("status IN ('active', 'archived', 'deleted')", name=op.f("check_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_sessions")),
        sa.UniqueConstraint("session_id", name=op.f("uq_chat_sessions_session_id")),
        sa.UniqueConstraint("trace_id", name=op.f("uq_chat_sessions_trace_id")),
    )
    op.create_index("idx_chat_sessions_user_id", "chat_sessions", ["user_id"])
    op.create_index("idx_chat_sessions_agent_id", "chat_sessions", ["agent_id"])
    op.create_index("idx_chat_sessions_trace_id", "chat_sessions", ["trace_id"])
    op.create_index("idx_chat_sessions_status", "chat_sessions", ["status"])

    op.create_table(
        "chat_participants",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("last_read_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("joined_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("fk_chat_participants_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_participants")),
        sa.UniqueConstraint("session_id", "user_id", name=op.f("uq_chat_participants_session_id_user_id")),
    )
    op.create_index("idx_chat_participants_user_id", "chat_participants", ["user_id"])

    op.create_table(
        "chat_messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(length=100), nullable=False),
        sa.Column("client_message_id", sa.String(length=100), nullable=True),
        sa.Column("sender_type", sa.String(length=20), nullable=False),
        sa.Column("sender_id", sa.String(length=100), nullable=False),
        sa.Column("message_type", sa.String(length=20), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("metadata", JSON_OBJECT, nullable=True),
        sa.Column("tokens_used", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("is_edited", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("edited_at", sa.TIMESTAMP(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.CheckConstraint("sender_type IN ('user', 'agent', 'system')", name=op.f("check_sender_type")),
        sa.CheckConstraint("message_type IN ('text', 'stream', 'file', 'system')", name=op.f("check_message_type")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("fk_chat_messages_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_messages")),
        sa.UniqueConstraint("message_id", name=op.f("uq_chat_messages_message_id")),
        sa.UniqueConstraint("session_id", "seq", name=op.f("uq_chat_messages_session_id_seq")),
        sa.UniqueConstraint(
            "session_id",
            "sender_id",
            "client_message_id",
            name=op.f("uq_chat_messages_session_id_sender_id_client_message_id"),
        ),
    )
    op.create_index("idx_chat_messages_session_id", "chat_messages", ["session_id"])
    op.create_index("idx_chat_messages_sender_id", "chat_messages", ["sender_id"])
    op.create_index("idx_chat_messages_created_at", "chat_messages", ["created_at"])

    op.create_table(
        "chat_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=100), nullable=True),
        sa.Column("file_id", sa.String(length=100), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("file_type", sa.String(length=100), nullable=True),
        sa.Column("file_size", sa.Integer(), nullable=True),
        sa.Column("file_url", sa.String(length=500), nullable=True),
        sa.Column("thumbnail_url", sa.String(length=500), nullable=True),
        sa.Column("uploaded_by", sa.String(length=100), nullable=True),
        sa.Column("uploaded_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["chat_messages.message_id"],
            name=op.f("fk_chat_files_message_id_chat_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_files")),
        sa.UniqueConstraint("file_id", name=op.f("uq_chat_files_file_id")),
    )
    op.create_index("idx_chat_files_message_id", "chat_files", ["message_id"])
    op.create_index("idx_chat_files_uploaded_by", "chat_files", ["uploaded_by"])


def downgrade() -> None:
    op.drop_table("chat_files")
    op.drop_table("chat_messages")
    op.drop_table("chat_participants")
    op.drop_table("chat_sessions")
