"""The machines of `/monitor`: their newest status, and their alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from clients.python.connection import Connection
from clients.python.errors import ClientError
from clients.python.feed import Feed

MOST_ALARMS = 1000
FILTERS = ("equipment", "lines", "statuses")


@dataclass(frozen=True, slots=True)
class Machine:
    """`status`: running, idle, stopped, error or disconnected; `quality`: good, stale or bad. Times are ISO-8601."""

    code: str
    name: str
    status: str
    status_tag: int
    error_tag: int
    connection: bool
    last_updated: str = ""
    quality: str = "good"

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Machine:
        tags = wire.get("tags") or {}
        return cls(
            code=str(wire["equipment_code"]),
            name=str(wire["equipment_name"]),
            status=str(wire["status"]),
            status_tag=int(tags.get("status_tag", 0)),
            error_tag=int(tags.get("error_tag", 0)),
            connection=bool(tags.get("connection", False)),
            last_updated=str(wire.get("last_updated", "")),
            quality=str(wire.get("quality", "good")),
        )


@dataclass(frozen=True, slots=True)
class Status:
    """Of all machines that one sees, at one time."""

    timestamp: str
    machines: tuple[Machine, ...]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Status:
        return cls(str(wire["timestamp"]), tuple(Machine.from_wire(each) for each in wire["equipment"]), wire)


class Monitor:
    """Iterate over it for the statuses: who reads slower than they come gets the newest. The iteration raises when the
    connection has been given up, and ends when the monitor is closed."""

    def __init__(self, connection: Connection, wanted: Mapping[str, Sequence[str] | None]) -> None:
        self._connection = connection
        self._wanted = {name: list(each) for name, each in wanted.items() if each is not None}
        self._newest: Status | None = None
        self._feed: Feed[Status] = Feed(1)
        self._alarms: Feed[Mapping[str, Any]] = Feed(MOST_ALARMS)
        self._stops = [
            connection.on_state(self._state_changed),
            connection.on("equipment_status", self._status),
            connection.on("equipment_alarm", self._alarm),
        ]
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The newest that is known. All are disconnected once the link has been given up."""
        known = () if self._newest is None else self._newest.machines
        if self._connection.state not in ("failed", "closed"):
            return known
        return tuple(replace(each, status="disconnected", connection=False, quality="bad") for each in known)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Status:
        return await anext(self._feed)

    def alarms(self) -> Feed[Mapping[str, Any]]:
        """Each change of an alarm, as it is told."""
        return self._alarms

    async def list_alarms(self, state: str = "active") -> list[Mapping[str, Any]]:
        """`active`, or those that are `past`."""
        return list((await self._connection.call("alarms", {"state": state}))["alarms"])

    async def acknowledge(self, alarm_id: str, comment: str | None = None) -> Mapping[str, Any]:
        return await self._act("alarm_acknowledge", alarm_id=alarm_id, comment=comment)

    async def shelve(self, alarm_id: str, minutes: int, comment: str | None = None) -> Mapping[str, Any]:
        return await self._act("alarm_shelve", alarm_id=alarm_id, minutes=minutes, comment=comment)

    async def unshelve(self, alarm_id: str) -> Mapping[str, Any]:
        return await self._act("alarm_unshelve", alarm_id=alarm_id)

    async def open(self) -> None:
        """Raises what the server says against what is wanted."""
        if self._wanted:
            await self._connection.call("subscribe", self._wanted)

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for stop in self._stops:
            stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end(None)

    async def _act(self, event: str, **fields: object) -> Mapping[str, Any]:
        payload = {name: value for name, value in fields.items() if value is not None}
        alarm: Mapping[str, Any] = (await self._connection.call(event, payload))["alarm"]
        return alarm

    def _status(self, payload: Any) -> None:
        self._newest = Status.from_wire(payload)
        self._feed.put(self._newest)

    def _alarm(self, payload: Any) -> None:
        self._alarms.put(payload)

    def _state_changed(self) -> None:
        connection = self._connection
        if connection.state == "connected" and self._wanted and not connection.recovered:
            task = asyncio.create_task(self._narrow(), name="monitor")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif connection.state in ("failed", "closed"):
            self._end(connection.why)

    async def _narrow(self) -> None:
        try:
            await self._connection.call("subscribe", self._wanted)
        except ClientError as error:
            if self._connection.state == "connected":
                self._end(error)

    def _end(self, error: ClientError | None) -> None:
        self._feed.end(error)
        self._alarms.end(error)
