"""The monitor's HTTP API: its routes and their schemas. What they mean is the services' business, as that of events is.

Who may see `/monitor` may read; acting on alarms takes a token, and a role that the service asks for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime

from aiohttp import web

from server.http.api import Answer, Api, Download, endpoint
from server.identity import Identity
from server.namespaces.monitor import bodies, spreadsheet
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.availability import Availability
from server.namespaces.monitor.history import History

NAMESPACE = "/monitor"
REPORT_SECONDS = 30.0  # of a year, out of millions of changes
EQUIPMENT = "/api/monitor/equipment"
MACHINE = "/api/monitor/equipment/{code}"
ALARMS = "/api/monitor/alarms"
ALARM = "/api/monitor/alarms/{alarm_id}"


def routes(
    history: History, availability: Availability, alarms: AlarmService, api: Api, *, require_auth: bool
) -> list[web.RouteDef]:
    """`require_auth`: as `/monitor` itself, for reading."""
    owners = (EquipmentRoutes(history, availability), AlarmRoutes(alarms))
    return api.routes(NAMESPACE, *owners, require_auth=require_auth)


class EquipmentRoutes:
    def __init__(self, history: History, availability: Availability) -> None:
        self._history = history
        self._availability = availability

    @endpoint("GET", EQUIPMENT, public=True)
    async def list(self, identity: Identity) -> Answer:
        return await self._history.all()

    @endpoint("GET", MACHINE, public=True)
    async def get(self, identity: Identity, code: str) -> Answer:
        return await self._history.one(code)

    @endpoint("GET", MACHINE + "/history", query=bodies.ChangesQuery, public=True)
    async def changes(
        self,
        identity: Identity,
        code: str,
        start: datetime | None,
        end: datetime | None,
        format: str,
        limit: int,
        before: datetime | None,
    ) -> Answer:
        """A CSV holds all of them, whatever the limit of a page."""
        if format == "csv":
            return _csv(f"history-{code}.csv", self._history.csv(code, start, end, before))
        return await self._history.changes(code, start, end, limit, before)

    @endpoint("GET", MACHINE + "/availability", query=bodies.Period, public=True, timeout=REPORT_SECONDS)
    async def of_one(
        self, identity: Identity, code: str, start: datetime | None, end: datetime | None, format: str
    ) -> Answer:
        return await self._report(start, end, code, None, format)

    @endpoint("GET", "/api/monitor/availability", query=bodies.AvailabilityQuery, public=True, timeout=REPORT_SECONDS)
    async def of_all(
        self,
        identity: Identity,
        start: datetime | None,
        end: datetime | None,
        format: str,
        equipment: str | None,
        line: str | None,
    ) -> Answer:
        return await self._report(start, end, equipment, line, format)

    async def _report(
        self, start: datetime | None, end: datetime | None, equipment: str | None, line: str | None, format: str
    ) -> Answer:
        if format == "csv":
            return _csv("availability.csv", self._availability.csv(start, end, equipment, line))
        return await self._availability.report(start, end, equipment, line)


class AlarmRoutes:
    def __init__(self, alarms: AlarmService) -> None:
        self._alarms = alarms

    @endpoint("GET", ALARMS, query=bodies.AlarmsQuery, public=True)
    async def list(
        self, identity: Identity, state: str, equipment: str | None, limit: int, before: int | None
    ) -> Answer:
        return await self._alarms.page(state=state, equipment=equipment, limit=limit, before=before)

    @endpoint("POST", ALARM + "/acknowledge", body=bodies.Acknowledge)
    async def acknowledge(self, identity: Identity, alarm_id: str, comment: str | None) -> Mapping[str, object]:
        return await self._alarms.acknowledge(identity, alarm_id, comment)

    @endpoint("POST", ALARM + "/shelve", body=bodies.Shelve)
    async def shelve(
        self, identity: Identity, alarm_id: str, minutes: int, comment: str | None
    ) -> Mapping[str, object]:
        return await self._alarms.shelve(identity, alarm_id, minutes, comment)

    @endpoint("POST", ALARM + "/unshelve")
    async def unshelve(self, identity: Identity, alarm_id: str) -> Mapping[str, object]:
        return await self._alarms.unshelve(identity, alarm_id)


def _csv(name: str, body: AsyncGenerator[bytes, None]) -> Download:
    return Download(name, spreadsheet.CONTENT_TYPE, body)
