"""What a support desk needs of chat: who answers, files of sessions, uploads in chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOW = sa.func.current_timestamp()
JSON_OBJECT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("chat_sessions") as sessions:
        sessions.add_column(sa.Column("operator_id", sa.String(length=100), nullable=True))
        sessions.add_column(sa.Column("handover", JSON_OBJECT, nullable=True))
    op.create_index("idx_chat_sessions_activity", "chat_sessions", ["tenant", "updated_at"])

    with op.batch_alter_table("chat_files") as files:
        files.add_column(sa.Column("session_id", sa.String(length=100), nullable=True))
        files.create_foreign_key(
            op.f("fk_chat_files_session_id_chat_sessions"),
            "chat_sessions",
            ["session_id"],
            ["session_id"],
            ondelete="CASCADE",
        )
    op.create_index("idx_chat_files_uploaded_at", "chat_files", ["uploaded_at"])
    op.execute(
        "UPDATE chat_files SET session_id = (SELECT said.session_id FROM chat_messages AS said"
        " WHERE said.message_id = chat_files.message_id)"
    )

    op.create_table(
        "chat_uploads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("upload_id", sa.String(length=100), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("file_type", sa.String(length=100), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("fk_chat_uploads_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_uploads")),
        sa.UniqueConstraint("upload_id", name=op.f("uq_chat_uploads_upload_id")),
    )
    op.create_index("idx_chat_uploads_updated_at", "chat_uploads", ["updated_at"])


def downgrade() -> None:
    op.drop_table("chat_uploads")
    op.drop_index("idx_chat_files_uploaded_at", "chat_files")
    with op.batch_alter_table("chat_files") as files:
        files.drop_constraint(op.f("fk_chat_files_session_id_chat_sessions"), type_="foreignkey")
        files.drop_column("session_id")
    op.drop_index("idx_chat_sessions_activity", "chat_sessions")
    with op.batch_alter_table("chat_sessions") as sessions:
        sessions.drop_column("handover")
        sessions.drop_column("operator_id")
