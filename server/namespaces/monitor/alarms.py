"""What people do about alarms, on any node: look, acknowledge, shelve. Which there are is the journal's business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from server.auth.policy import is_staff
from server.errors import Conflict, Forbidden, NotFound
from server.identity import Identity
from server.namespaces.monitor import records
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.damping import KINDS, Alarm, State
from server.namespaces.monitor.models import EquipmentAlarm
from server.namespaces.monitor.schemas import Status
from server.storage.database import Database
from server.timestamps import iso_utc, utc_now

log = structlog.get_logger(__name__)

#: To one event; pages have no end.
MOST_LISTED = 500

Announce = Callable[[Mapping[str, object]], Awaitable[None]]


class AlarmService:
    """`announce` tells everyone whom the machine concerns, on all nodes. The plant is nobody's tenant: staff of any
    may act on its alarms."""

    def __init__(
        self,
        database: Database,
        machines: Sequence[Machine],
        announce: Announce,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._names = {machine.code: machine.name for machine in machines}
        self._announce = announce
        self._now = now

    async def list_alarms(self, active: bool) -> list[dict[str, object]]:
        """Those that are open, or the newest of those that are over."""
        async with self._database.reading() as db:
            return self._wire(await records.alarms(db, is_open=active, limit=MOST_LISTED))

    async def open_alarms(self, codes: Collection[str]) -> list[dict[str, object]]:
        """Of these machines: each has one of a kind at most."""
        async with self._database.reading() as db:
            return self._wire(await records.alarms(db, is_open=True, codes=codes, limit=len(KINDS) * len(codes)))

    async def page(self, *, state: str, equipment: str | None, limit: int, before: int | None) -> dict[str, object]:
        """`state`: active, past or all. With `next_before` where there are more. Raises NotFound."""
        if equipment is not None and equipment not in self._names:
            raise NotFound("No such equipment")
        async with self._database.reading() as db:
            found = await records.alarms(
                db,
                is_open={"active": True, "past": False}.get(state),
                codes=None if equipment is None else [equipment],
                before=before,
                limit=limit + 1,
            )
        page: dict[str, object] = {"alarms": self._wire(found[:limit]), "has_more": len(found) > limit}
        return page | {"next_before": found[limit - 1].id} if len(found) > limit else page

    async def acknowledge(self, identity: Identity, alarm_id: str, comment: str | None) -> dict[str, object]:
        """Once: who was first stays. Raises Forbidden, NotFound."""
        async with self._acting(identity, alarm_id) as act:
            if act.alarm.acknowledged_at is None:
                act.alarm.acknowledged_at, act.alarm.acknowledged_by = self._now(), identity.user_id
                act.alarm.acknowledge_comment = comment
                act.state, act.comment = "acknowledged", comment
        return self._wire([act.alarm])[0]

    async def shelve(self, identity: Identity, alarm_id: str, minutes: int, comment: str | None) -> dict[str, object]:
        """From now on, also where it was before; alarms of this kind that follow it too. Raises Forbidden, NotFound;
        Conflict for one that is over."""
        async with self._acting(identity, alarm_id) as act:
            if act.alarm.cleared_at is not None:
                raise Conflict("The alarm is over")
            await records.unshelve(act.db, act.alarm.equipment_code, act.alarm.kind, None)
            act.alarm.shelved_until = self._now() + timedelta(minutes=minutes)
            act.alarm.shelved_by, act.alarm.shelve_comment = identity.user_id, comment
            act.state, act.comment = "shelved", comment
        return self._wire([act.alarm])[0]

    async def unshelve(self, identity: Identity, alarm_id: str) -> dict[str, object]:
        """Nothing, where it is not shelved. Raises Forbidden, NotFound."""
        async with self._acting(identity, alarm_id) as act:
            if act.alarm.shelved_until is not None:
                await records.unshelve(act.db, act.alarm.equipment_code, act.alarm.kind, identity.user_id)
                act.state = "unshelved"
        return self._wire([act.alarm])[0]

    @asynccontextmanager
    async def _acting(self, identity: Identity, alarm_id: str) -> AsyncIterator[_Act]:
        """Stored first, then told."""
        if not is_staff(identity):
            raise Forbidden("Only operators and admins act on alarms")
        async with self._database.transaction() as db:
            alarm = await records.alarm(db, alarm_id)
            if alarm is None:
                raise NotFound("No such alarm")
            act = _Act(db, alarm)
            yield act
            last = (await records.last(db, [alarm.equipment_code])).get(alarm.equipment_code)
        if act.state is None:
            return
        log.info("alarm " + act.state, alarm_id=alarm_id, equipment=alarm.equipment_code, by=identity.user_id)
        status, previous = (None, None) if last is None else (last.status, last.previous)
        event = announcement(alarm, act.state, self._names.get(alarm.equipment_code), status, previous, self._now())
        await self._announce(event | {"by": identity.user_id} | ({"comment": act.comment} if act.comment else {}))

    def _wire(self, alarms: Sequence[EquipmentAlarm]) -> list[dict[str, object]]:
        now = self._now()
        return [alarm.to_wire(self._names.get(alarm.equipment_code), now) for alarm in alarms]


@dataclass(slots=True)
class _Act:
    """`state`: what everyone is told, if anything was done."""

    db: AsyncSession
    alarm: EquipmentAlarm
    state: State | None = None
    comment: str | None = None


def announcement(
    alarm: Alarm | EquipmentAlarm,
    state: State,
    name: str | None,
    status: Status | None,
    previous: Status | None,
    at: datetime,
) -> dict[str, object]:
    """The `equipment_alarm` event."""
    only_some = {"cleared_at": alarm.cleared_at, "shelved_until": alarm.shelved_until}
    return {
        "alarm_id": alarm.alarm_id,
        "equipment_code": alarm.equipment_code,
        "equipment_name": name,
        "kind": alarm.kind,
        "state": state,
        "status": status,
        "previous_status": previous,
        "flapping": alarm.flapping,
        "occurrences": alarm.occurrences,
        "timestamp": iso_utc(at),
        "raised_at": iso_utc(alarm.raised_at),
        **{name: iso_utc(moment) for name, moment in only_some.items() if moment is not None},
    }
