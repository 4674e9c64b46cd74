"""Equipment's past: changes of status, alarms, and until when somebody watched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "equipment_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("equipment_code", sa.String(length=100), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("previous_status", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_equipment_changes")),
        sa.UniqueConstraint("equipment_code", "at", name=op.f("uq_equipment_changes_equipment_code_at")),
    )
    op.create_table(
        "equipment_alarms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alarm_id", sa.String(length=32), nullable=False),
        sa.Column("equipment_code", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("raised_at", sa.TIMESTAMP(), nullable=False),
        sa.Column("cleared_at", sa.TIMESTAMP(), nullable=True),
        sa.Column("occurrences", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("flapping", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("acknowledged_at", sa.TIMESTAMP(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=100), nullable=True),
        sa.Column("acknowledge_comment", sa.String(length=1000), nullable=True),
        sa.Column("shelved_until", sa.TIMESTAMP(), nullable=True),
        sa.Column("shelved_by", sa.String(length=100), nullable=True),
        sa.Column("shelve_comment", sa.String(length=1000), nullable=True),
        sa.Column("unshelved_by", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_equipment_alarms")),
        sa.UniqueConstraint("alarm_id", name=op.f("uq_equipment_alarms_alarm_id")),
    )
    op.create_index("idx_equipment_alarms_equipment_code", "equipment_alarms", ["equipment_code"])
    op.create_index("idx_equipment_alarms_cleared_at", "equipment_alarms", ["cleared_at"])
    op.create_index("idx_equipment_alarms_shelved_until", "equipment_alarms", ["shelved_until"])
    op.create_table(
        "equipment_watch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seen_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_equipment_watch")),
    )


def downgrade() -> None:
    op.drop_table("equipment_watch")
    op.drop_table("equipment_alarms")
    op.drop_table("equipment_changes")
