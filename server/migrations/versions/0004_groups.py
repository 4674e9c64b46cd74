"""The members of trading's groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trading_group_members",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("added_by", sa.String(length=100), nullable=False),
        sa.Column("added_at", sa.TIMESTAMP(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trading_group_members")),
        sa.UniqueConstraint("tenant", "name", "user_id", name=op.f("uq_trading_group_members_tenant_name_user_id")),
    )
    op.create_index("idx_trading_group_members_user", "trading_group_members", ["tenant", "user_id"])


def downgrade() -> None:
    op.drop_table("trading_group_members")
