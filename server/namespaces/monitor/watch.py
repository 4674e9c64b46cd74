"""What is seen of machines, turned into what is worth keeping: changes of status and alarms. It stores nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from server.namespaces.monitor.damping import KINDS, Alarm, Condition, Damping, Kind, Turn
from server.namespaces.monitor.schemas import Status

#: Seconds without a reader after which machines count as disconnected: a takeover takes less.
UNWATCHED = timedelta(seconds=30)
#: What times are kept to; a machine's changes are this far apart at least.
MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    equipment_code: str
    at: datetime
    status: Status
    previous: Status | None


@dataclass(frozen=True, slots=True)
class News:
    """A turn of an alarm, in the machine's status then."""

    turn: Turn
    status: Status | None
    previous: Status | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """What was stored: the last change of each machine, alarms that are open, shelves that hold, and until when
    somebody watched."""

    last: Mapping[str, Change] = field(default_factory=dict)
    alarms: Sequence[Alarm] = ()
    shelves: Mapping[tuple[str, Kind], tuple[datetime, str | None]] = field(default_factory=dict)
    seen_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    changes: list[Change] = field(default_factory=list)
    news: list[News] = field(default_factory=list)


@dataclass(slots=True)
class _Machine:
    conditions: dict[Kind, Condition]
    status: Status | None = None
    previous: Status | None = None
    since: datetime | None = None


def _new_id() -> str:
    return uuid.uuid4().hex


class Watch:
    def __init__(
        self, codes: Iterable[str], damping: Damping | None = None, new_id: Callable[[], str] = _new_id
    ) -> None:
        damping = damping or Damping()
        self._machines = {
            code: _Machine({kind: Condition(code, kind, damping, new_id) for kind in KINDS}) for code in codes
        }

    def resume(self, past: Past, at: datetime) -> Outcome:
        """Goes on where the last one left off, `at` the time of the first look of this one; also after a while
        without knowing of it. Alarms of machines that are no longer there are over."""
        outcome = Outcome()
        unwatched = past.seen_until is not None and at - past.seen_until > UNWATCHED
        for code, machine in self._machines.items():
            if (last := past.last.get(code)) is None:
                continue
            if unwatched and past.seen_until is not None and last.status != "disconnected":
                since = max(past.seen_until, last.at + MOMENT)
                last = Change(code, since, "disconnected", last.status)
                outcome.changes.append(last)
            if machine.status is None:
                machine.status, machine.previous, machine.since = last.status, last.previous, last.at
        self.shelve(past.shelves, at, resumed=True)
        for alarm in sorted(past.alarms, key=lambda alarm: alarm.raised_at, reverse=True):
            if (known := self._machines.get(alarm.equipment_code)) is None:
                ended = replace(alarm, cleared_at=max(at, alarm.raised_at), flapping=False)
                outcome.news.append(News(Turn(ended, "cleared"), None, None, at))
            else:
                turns = known.conditions[alarm.kind].resume(alarm, at)
                outcome.news.extend(News(turn, known.status, known.previous, at) for turn in turns)
        return outcome

    def shelve(
        self,
        shelves: Mapping[tuple[str, Kind], tuple[datetime, str | None]],
        at: datetime,
        *,
        resumed: bool = False,
    ) -> None:
        """These are shelved, and no others. What ended before `at` is this one's to end, unless it has `resumed`."""
        for code, machine in self._machines.items():
            for kind, condition in machine.conditions.items():
                until, by = shelves.get((code, kind), (None, None))
                if until is None or until > at or resumed:
                    condition.shelve(until, by)

    def saw(self, statuses: Mapping[str, Status], at: datetime) -> Outcome:
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        outcome = Outcome()
        for code, status in statuses.items():
            machine = self._machines.get(code)
            if machine is None:
                continue
            moment = at
            if status != machine.status:
                if machine.since is not None:  # the clock of the node before may be ahead of this one's
                    moment = max(at, machine.since + MOMENT)
                outcome.changes.append(Change(code, moment, status, machine.status))
                machine.status, machine.previous, machine.since = status, machine.status, moment
            elif not any(condition.waits or condition.active is None for condition in machine.conditions.values()):
                continue
            for kind in sorted(KINDS, key=status.__eq__):  # what ends comes before what begins
                active = None if (kind, status) == ("error", "disconnected") else status == kind
                turns = machine.conditions[kind].step(active, moment)
                outcome.news.extend(News(turn, status, machine.previous, moment) for turn in turns)
        return outcome
