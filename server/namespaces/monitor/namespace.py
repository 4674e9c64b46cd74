"""The events of `/monitor`: who is sent which machines' status every period, and who hears of which alarms. The status
is the service's, alarms are the journal's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from server.errors import InvalidMessage, NotFound
from server.identity import Identity
from server.namespaces.monitor import catalogue, schemas, told
from server.namespaces.monitor.filters import EVERYTHING, ROOM, Filter, Snapshot
from server.namespaces.monitor.polling import Clock
from server.namespaces.monitor.service import Journal, MonitorService
from server.namespaces.monitor.sources import KINDS
from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.leases import Lease
from server.realtime.namespace import Namespace

STATUS, ALARM = "equipment_status", "equipment_alarm"
EVERY_MACHINE = "every machine"  # what a status conflates with: it tells of all that its reader wants to see
#: Whose filter lets through more machines than MOST_ALARM_ROOMS, or asks for a status only, hears of all alarms.
ALL_ALARMS = "alarms"
MOST_ALARM_ROOMS = 50
MOST_NAMED = 10  # of what there is not, in one answer


class AlarmService(Protocol):
    """Alarms at rest. Staff may change them, others get Forbidden; NotFound for one that there is not."""

    async def list_alarms(self, active: bool) -> list[dict[str, object]]: ...

    async def acknowledge(self, identity: Identity, alarm_id: str, comment: str | None) -> dict[str, object]: ...

    async def shelve(
        self, identity: Identity, alarm_id: str, minutes: int, comment: str | None
    ) -> dict[str, object]: ...

    async def unshelve(self, identity: Identity, alarm_id: str) -> dict[str, object]: ...


class MonitorNamespace(Namespace):
    path = "/monitor"
    tells = told.TELLS

    def __init__(
        self,
        equipment: catalogue.Catalogue,
        *,
        period: float,
        require_auth: bool,
        lease: Lease | None = None,
        kinds: catalogue.Kinds = KINDS,
        journal: Journal | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`lease`: to read the machines, which one node does. `journal`: what keeps their changes and alarms; it may be
        put into the service later, before the start."""
        super().__init__(require_auth=require_auth)
        self.equipment = equipment
        self.alarms: AlarmService | None = None  # where there is a database
        self._filters: dict[str, Filter] = {}  # by room, of those who are here
        sources = catalogue.sources(equipment, kinds)
        self.service = MonitorService(
            self._show, equipment.machines, sources, period=period, lease=lease, journal=journal, clock=clock
        )

    # -- coming and going ---------------------------------------------------------------------------------------

    async def greet(self, connection: Connection, *, recovered: bool) -> None:
        """As in its seed, and the newest status at once, so that nobody looks at an empty page for a period. Who came
        back sees what it wanted to see before."""
        await self.send(connection, "connection_status", schemas.connection_status())
        had = [room for room in connection.rooms if room.startswith(ROOM)]
        await self._narrow(connection, Filter.named(had[0]) if had else EVERYTHING)

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        self._forget(rooms_left)

    async def start(self) -> None:
        for name, work in self.service.work():
            self.spawn(work, name)

    # -- what is sent -------------------------------------------------------------------------------------------

    async def alarm(self, payload: Mapping[str, object]) -> None:
        """To everybody whose filter lets the machine `equipment_code` through, on all nodes, whatever its status."""
        rooms = [EVERYTHING.room, ALL_ALARMS, _alarm_room(str(payload["equipment_code"]))]
        await self.emit(ALARM, payload, room=rooms)

    def _show(self, snapshot: Snapshot) -> None:
        """Encoded once for each filter. Each node sends it to its own: by their ids, which are rooms that no other
        node has members in."""
        manager = self.server.manager
        for room, wanted in self._filters.items():
            if here := [member.sid for member in manager.members(self.path, room) if member.connected]:
                status = snapshot.status(wanted)
                manager.deliver(self.path, [STATUS, status], room=here, volatile=True, conflate=EVERY_MACHINE)

    async def _narrow(self, connection: Connection, wanted: Filter) -> None:
        """From now on it sees what it wants to, and nothing twice: nothing is shown between leaving and entering."""
        manager = self.server.manager
        member = manager.member(connection.id, self.path)
        if member is None:
            return
        if (newest := self.service.newest()) is not None:
            status = newest.status(wanted)
            await self.send(connection, STATUS, status, volatile=True, conflate=EVERY_MACHINE)
        had = {room for room in connection.rooms if room.startswith((ROOM, ALL_ALARMS))}
        rooms = self._rooms(wanted, self.server.bounds.rooms_per_connection - len(connection.rooms) + len(had))
        for room in had - rooms:
            manager.leave(member, room)
        for room in rooms - had:
            manager.enter(member, room)
        self._filters[wanted.room] = wanted
        self._forget(had - rooms)
        await manager.settled(member)

    def _forget(self, rooms: Iterable[str]) -> None:
        """Filters that nobody here has any more."""
        for room in rooms:
            if room.startswith(ROOM) and not self.server.manager.members(self.path, room):
                self._filters.pop(room, None)

    def _rooms(self, wanted: Filter, most: int) -> set[str]:
        if wanted == EVERYTHING:
            return {wanted.room}
        rooms = {_alarm_room(each.code) for each in self.equipment.machines if wanted.covers(each.code, each.line)}
        if len(rooms) > min(MOST_ALARM_ROOMS, most - 1) or (wanted.equipment is None and wanted.lines is None):
            rooms = {ALL_ALARMS}
        return {wanted.room, *rooms}

    # -- events -------------------------------------------------------------------------------------------------

    @event("subscribe", schemas.Subscribe, ack=told.Shown)
    async def subscribe(
        self,
        connection: Connection,
        equipment: Sequence[str] | None,
        lines: Sequence[str] | None,
        statuses: Sequence[str] | None,
    ) -> Mapping[str, object]:
        """Narrows the status and the alarms to what all filters let through, instead of what it saw before."""
        machines = self.equipment.machines
        unknown = {
            "equipment": _unknown(equipment, {machine.code for machine in machines}),
            "lines": _unknown(lines, {machine.line for machine in machines}),
        }
        if any(unknown.values()):
            raise InvalidMessage(details={name: each for name, each in unknown.items() if each})
        return await self._subscribe(connection, Filter.of(equipment, lines, statuses))

    @event("unsubscribe", ack=told.Shown)
    async def unsubscribe(self, connection: Connection) -> Mapping[str, object]:
        """All machines again."""
        return await self._subscribe(connection, EVERYTHING)

    async def _subscribe(self, connection: Connection, wanted: Filter) -> Mapping[str, object]:
        await self._narrow(connection, wanted)
        shown = (self.service.newest() or self.service.snapshot()).equipment(wanted)
        return {"equipment": [each["equipment_code"] for each in shown]}

    @event("alarms", schemas.Alarms, ack=told.Alarms)
    async def list_alarms(self, connection: Connection, state: str) -> Mapping[str, object]:
        """The open ones, or the newest of those that are over."""
        return {"alarms": await self._kept().list_alarms(state == "active")}

    @event("alarm_acknowledge", schemas.AlarmAcknowledge, ack=told.AlarmAck)
    async def acknowledge_alarm(
        self, connection: Connection, alarm_id: str, comment: str | None
    ) -> Mapping[str, object]:
        """Somebody knows of it. For operators and admins."""
        return {"alarm": await self._kept().acknowledge(connection.identity, alarm_id, comment)}

    @event("alarm_shelve", schemas.AlarmShelve, ack=told.AlarmAck)
    async def shelve_alarm(
        self, connection: Connection, alarm_id: str, minutes: int, comment: str | None
    ) -> Mapping[str, object]:
        """Nobody is to be bothered by it, nor by those of its kind that follow, for some minutes. For operators and
        admins."""
        return {"alarm": await self._kept().shelve(connection.identity, alarm_id, minutes, comment)}

    @event("alarm_unshelve", schemas.AlarmUnshelve, ack=told.AlarmAck)
    async def unshelve_alarm(self, connection: Connection, alarm_id: str) -> Mapping[str, object]:
        """Ends the shelf. For operators and admins."""
        return {"alarm": await self._kept().unshelve(connection.identity, alarm_id)}

    def _kept(self) -> AlarmService:
        if self.alarms is None:
            raise NotFound("No alarms are kept here")
        return self.alarms


def build(
    config: Path,
    *,
    plc: str,
    period: float,
    require_auth: bool,
    lease: Lease | None = None,
    kinds: catalogue.Kinds = KINDS,
    journal: Journal | None = None,
) -> MonitorNamespace:
    """`plc` names the tables of `equipment.toml` that are in force instead of the usual ones; `kinds` are the sources
    that they may name. Raises ConfigError."""
    equipment = catalogue.load(config / "equipment.toml", kinds, plc)
    return MonitorNamespace(
        equipment, period=period, require_auth=require_auth, lease=lease, kinds=kinds, journal=journal
    )


def _alarm_room(code: str) -> str:
    return f"{ALL_ALARMS}:{code}"


def _unknown(wanted: Sequence[str] | None, known: set[str]) -> list[str]:
    unknown = [each for each in dict.fromkeys(wanted or ()) if each not in known]
    return [f"There is no {each!r}." for each in unknown[:MOST_NAMED]]
