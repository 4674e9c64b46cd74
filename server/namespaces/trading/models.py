"""The one table of trading: who belongs to which group by an admin's word. What a token's roles say is not in it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.storage.database import Model, Moment
from server.timestamps import iso_utc


class GroupMember(Model):
    """`tenant` is empty for a group outside any: with NULL the database would take the same member twice."""

    __tablename__ = "trading_group_members"
    __table_args__ = (
        UniqueConstraint("tenant", "name", "user_id"),
        Index("idx_trading_group_members_user", "tenant", "user_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(100))
    user_id: Mapped[str] = mapped_column(String(100))
    added_by: Mapped[str] = mapped_column(String(100))
    added_at: Mapped[datetime] = mapped_column(Moment)

    def to_wire(self) -> dict[str, object]:
        return {
            "name": self.name,
            "user_id": self.user_id,
            "added_by": self.added_by,
            "added_at": iso_utc(self.added_at),
        }
