"""The tables of equipment's past; queries on them are in `records`. What its machines are is in no table."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from server.storage.database import Model, Moment
from server.timestamps import iso_utc


def milliseconds(moment: datetime) -> int:
    """Since the epoch, whole."""
    return int(moment.timestamp() * 1000 + 0.5)


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class EquipmentChange(Model):
    """From `at` on a machine had this status. In milliseconds since the epoch: the database adds times up, and both
    count numbers alike. Whatever is stored twice is there once."""

    __tablename__ = "equipment_changes"
    __table_args__ = (UniqueConstraint("equipment_code", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    equipment_code: Mapped[str] = mapped_column(String(100))
    at: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20))
    previous_status: Mapped[str | None] = mapped_column(String(20))


class EquipmentAlarm(Model):
    """The node that reads writes when it was raised and cleared, and how often; people, on any node, the rest."""

    __tablename__ = "equipment_alarms"
    __table_args__ = (
        Index("idx_equipment_alarms_equipment_code", "equipment_code"),
        Index("idx_equipment_alarms_cleared_at", "cleared_at"),
        Index("idx_equipment_alarms_shelved_until", "shelved_until"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    alarm_id: Mapped[str] = mapped_column(String(32), unique=True)
    equipment_code: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(20))
    raised_at: Mapped[datetime] = mapped_column(Moment)
    cleared_at: Mapped[datetime | None] = mapped_column(Moment)
    occurrences: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    flapping: Mapped[bool] = mapped_column(default=False, server_default=false())
    acknowledged_at: Mapped[datetime | None] = mapped_column(Moment)
    acknowledged_by: Mapped[str | None] = mapped_column(String(100))
    acknowledge_comment: Mapped[str | None] = mapped_column(String(1000))
    shelved_until: Mapped[datetime | None] = mapped_column(Moment)
    shelved_by: Mapped[str | None] = mapped_column(String(100))
    shelve_comment: Mapped[str | None] = mapped_column(String(1000))
    unshelved_by: Mapped[str | None] = mapped_column(String(100))

    def to_wire(self, name: str | None, now: datetime) -> dict[str, object]:
        """`name`: the machine's, None for one that is no longer there. Shelved is what still is."""
        shelved = self.shelved_until is not None and self.shelved_until > now
        return {
            "alarm_id": self.alarm_id,
            "equipment_code": self.equipment_code,
            "equipment_name": name,
            "kind": self.kind,
            "raised_at": iso_utc(self.raised_at),
            "cleared_at": _iso(self.cleared_at),
            "occurrences": self.occurrences,
            "flapping": self.flapping,
            "acknowledged_at": _iso(self.acknowledged_at),
            "acknowledged_by": self.acknowledged_by,
            "acknowledge_comment": self.acknowledge_comment,
            "shelved_until": _iso(self.shelved_until) if shelved else None,
            "shelved_by": self.shelved_by,
            "shelve_comment": self.shelve_comment,
            "unshelved_by": self.unshelved_by,
        }


class EquipmentWatch(Model):
    """One row: until when machines were read, by whichever node."""

    __tablename__ = "equipment_watch"

    id: Mapped[int] = mapped_column(primary_key=True)
    seen_until: Mapped[int] = mapped_column(BigInteger)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso_utc(moment)
