"""The events of `/monitor`: everyone gets the status of all machines every period. The status is the service's."""

from __future__ import annotations

from pathlib import Path

from server.errors import ConfigError
from server.namespaces.monitor import catalogue, schemas
from server.namespaces.monitor.service import EVERY_MACHINE, MonitorService
from server.namespaces.monitor.sources import Source
from server.namespaces.monitor.sources.simulated import SimulatedSource
from server.realtime.connection import Connection
from server.realtime.namespace import Namespace


class MonitorNamespace(Namespace):
    path = "/monitor"

    def __init__(self, equipment: catalogue.Catalogue, *, period: float, require_auth: bool) -> None:
        super().__init__(require_auth=require_auth)
        sources = [_source(group) for group in equipment.groups]
        self._service = MonitorService(self, equipment.machines, sources, period=period)

    async def greet(self, connection: Connection, *, recovered: bool) -> None:
        """As in its seed, and the newest status at once, so that nobody looks at an empty page for a period."""
        await self.send(connection, "connection_status", schemas.connection_status())
        if (newest := self._service.newest()) is not None:
            await self.send(connection, "equipment_status", newest, volatile=True, conflate=EVERY_MACHINE)

    async def start(self) -> None:
        for name, work in self._service.work():
            self.spawn(work, name)


def build(config: Path, *, plc: str, period: float, require_auth: bool) -> MonitorNamespace:
    """`plc` names the tables of `equipment.toml` that are in force instead of the usual ones. Raises ConfigError."""
    return MonitorNamespace(catalogue.load(config / "equipment.toml", plc), period=period, require_auth=require_auth)


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
