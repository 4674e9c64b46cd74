"""What a client wants to see of the machines: equal filters are one, so that a status is encoded once for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from server.namespaces.monitor import schemas
from server.namespaces.monitor.schemas import Equipment

ROOM = "filter:"


@dataclass(frozen=True, slots=True)
class Filter:
    """A machine must be among all three; None is any. Whoever has it is in its room, whose name says all of it: a
    client that comes back, to whatever node, has it again."""

    equipment: frozenset[str] | None = None  # codes
    lines: frozenset[str] | None = None
    statuses: frozenset[str] | None = None

    @classmethod
    def of(cls, equipment: Iterable[str] | None, lines: Iterable[str] | None, statuses: Iterable[str] | None) -> Filter:
        return cls(*(None if each is None else frozenset(each) for each in (equipment, lines, statuses)))

    @classmethod
    def named(cls, room: str) -> Filter:
        return cls.of(*orjson.loads(room.removeprefix(ROOM)))

    @property
    def room(self) -> str:
        parts = (self.equipment, self.lines, self.statuses)
        return ROOM + orjson.dumps([None if each is None else sorted(each) for each in parts]).decode()

    def covers(self, code: str, line: str) -> bool:
        """Whatever its status."""
        return (self.equipment is None or code in self.equipment) and (self.lines is None or line in self.lines)

    def lets_through(self, line: str, equipment: Equipment) -> bool:
        return (self.statuses is None or equipment["status"] in self.statuses) and self.covers(
            equipment["equipment_code"], line
        )


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of all machines at a moment: each with its line, in the order of the file."""

    taken: datetime
    machines: Sequence[tuple[str, Equipment]]

    def equipment(self, wanted: Filter = EVERYTHING) -> list[Equipment]:
        return [each for line, each in self.machines if wanted.lets_through(line, each)]

    def status(self, wanted: Filter = EVERYTHING) -> dict[str, object]:
        return schemas.equipment_status(self.equipment(wanted), self.taken)
