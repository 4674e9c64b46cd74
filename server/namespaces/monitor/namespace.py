"""The events of `/monitor`: everyone gets the status of all machines every period. The status is the service's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.errors import ConfigError
from server.namespaces.monitor import catalogue, schemas
from server.namespaces.monitor.service import MonitorService
from server.namespaces.monitor.sources import Source
from server.namespaces.monitor.sources.simulated import SimulatedSource
from server.realtime import rooms
from server.realtime.connection import Connection
from server.realtime.leases import Lease
from server.realtime.namespace import Namespace

STATUS = "equipment_status"
EVERY_MACHINE = "every machine"  # what a status conflates with: it tells of all of them


class MonitorNamespace(Namespace):
    path = "/monitor"

    def __init__(
        self, equipment: catalogue.Catalogue, *, period: float, require_auth: bool, lease: Lease | None = None
    ) -> None:
        """`lease`: to read the machines, which one node does."""
        super().__init__(require_auth=require_auth)
        sources = [_source(group) for group in equipment.groups]
        self._service = MonitorService(self._show, equipment.machines, sources, period=period, lease=lease)

    async def greet(self, connection: Connection, *, recovered: bool) -> None:
        """As in its seed, and the newest status at once, so that nobody looks at an empty page for a period."""
        await self.send(connection, "connection_status", schemas.connection_status())
        if (newest := self._service.newest()) is not None:
            await self.send(connection, STATUS, newest, volatile=True, conflate=EVERY_MACHINE)

    async def start(self) -> None:
        for name, work in self._service.work():
            self.spawn(work, name)

    def _show(self, status: Mapping[str, object]) -> None:
        """Each node sends it to its own: by their ids, which are rooms that no other node has members in."""
        manager = self.server.manager
        here = [member.sid for member in manager.members(self.path, rooms.EVERYONE) if member.connected]
        manager.deliver(self.path, [STATUS, status], room=here, volatile=True, conflate=EVERY_MACHINE)


def build(config: Path, *, plc: str, period: float, require_auth: bool, lease: Lease | None = None) -> MonitorNamespace:
    """`plc` names the tables of `equipment.toml` that are in force instead of the usual ones. Raises ConfigError."""
    equipment = catalogue.load(config / "equipment.toml", plc)
    return MonitorNamespace(equipment, period=period, require_auth=require_auth, lease=lease)


def _source(group: catalogue.Group) -> Source:
    if isinstance(group.source, catalogue.Simulated):
        return SimulatedSource(group.name, group.machines, seed=group.source.seed)
    try:
        from server.namespaces.monitor.sources.modbus import ModbusSource  # an extra, and slow to import
    except ImportError as error:
        raise ConfigError(
            f"equipment.toml: {group.name} is read over Modbus, which needs the extra plc: pip install 'atrium[plc]'"
        ) from error
    return ModbusSource(group.name, group.machines, group.source)
