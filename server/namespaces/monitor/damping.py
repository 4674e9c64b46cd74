"""One kind of alarm of one machine, by given times: when it begins and ends, and what of that is worth telling.

An alarm that comes and goes too often is one that flaps: it is told once, then only counted until it is steady.
Nobody is told that one on the shelf was raised, but everybody that it is over: they may show it all the same, by a
list or from before it was shelved. It stores and sends nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

Kind = Literal["error", "disconnected"]
State = Literal["raised", "acknowledged", "shelved", "unshelved", "cleared"]
KINDS: tuple[Kind, ...] = ("error", "disconnected")


@dataclass(frozen=True, slots=True)
class Damping:
    """More than `raises` within `window` are flapping, until nothing changed for `steady`."""

    raises: int = 3
    window: timedelta = timedelta(seconds=60)
    steady: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Alarm:
    """`occurrences`: how often it was raised while it flapped, and the first time."""

    alarm_id: str
    equipment_code: str
    kind: Kind
    raised_at: datetime
    occurrences: int = 1
    flapping: bool = False
    cleared_at: datetime | None = None
    shelved_until: datetime | None = None
    shelved_by: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of an alarm; with a `state`, everybody is told."""

    alarm: Alarm
    state: State | None


@dataclass(slots=True)
class Condition:
    """`active` is None until it is known. What is shelved is the condition, beyond the end of an alarm."""

    code: str
    kind: Kind
    damping: Damping
    new_id: Callable[[], str]
    alarm: Alarm | None = None
    active: bool | None = None
    shelved_until: datetime | None = None
    shelved_by: str | None = None
    _changed: datetime | None = None
    _raises: deque[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self._raises = deque(maxlen=self.damping.raises + 1)

    @property
    def waits(self) -> bool:
        """Time alone may change it."""
        return self.shelved_until is not None or (self.alarm is not None and self.alarm.flapping)

    def resume(self, alarm: Alarm, at: datetime) -> list[Turn]:
        """Goes on with an alarm that was open when somebody else watched."""
        if self.alarm is not None:
            return [
                Turn(replace(alarm, cleared_at=max(alarm.raised_at, self.alarm.raised_at), flapping=False), "cleared")
            ]
        if self.active is False:
            return [Turn(replace(alarm, cleared_at=max(alarm.raised_at, at), flapping=False), "cleared")]
        self.alarm, self.active, self._changed = alarm, None if alarm.flapping else True, at
        return []

    def shelve(self, until: datetime | None, by: str | None) -> None:
        """Or not, with None."""
        self.shelved_until, self.shelved_by = until, by
        if self.alarm is not None and self.alarm.shelved_until != until:
            self.alarm = replace(self.alarm, shelved_until=until, shelved_by=by)

    def step(self, active: bool | None, at: datetime) -> list[Turn]:
        """`active` is None where it cannot be known: then it is as it was."""
        turns = self._unshelve(active, at)
        was = self.active
        if active is not None and active is not was:
            self.active, self._changed = active, at
        rises, falls = active is True and was is not True, active is False and was is True
        if self.alarm is not None and self.alarm.flapping:
            turns += self._flap(self.alarm, rises and was is not None, at)
        elif rises and self.alarm is None:
            turns += self._raise(at)
        elif falls and self.alarm is not None:
            turns += self._clear(self.alarm, at)
        return turns

    def _unshelve(self, active: bool | None, at: datetime) -> list[Turn]:
        if self.shelved_until is None or at < self.shelved_until:
            return []
        self.shelve(None, None)
        if self.alarm is None or (active is False and not self.alarm.flapping):
            return []
        return [Turn(self.alarm, "unshelved")]

    def _raise(self, at: datetime) -> list[Turn]:
        self._raises.append(at)
        often = len(self._raises) == self._raises.maxlen and at - self._raises[0] <= self.damping.window
        self.alarm = Alarm(
            self.new_id(),
            self.code,
            self.kind,
            at,
            flapping=often,
            shelved_until=self.shelved_until,
            shelved_by=self.shelved_by,
        )
        return [self._raised(self.alarm)]

    def _clear(self, alarm: Alarm, at: datetime) -> list[Turn]:
        self.alarm = None
        return [Turn(replace(alarm, cleared_at=at, flapping=False), "cleared")]

    def _flap(self, alarm: Alarm, counts: bool, at: datetime) -> list[Turn]:
        if counts:
            self.alarm = replace(alarm, occurrences=alarm.occurrences + 1)
            return [Turn(self.alarm, None)]
        if self._changed is None or at - self._changed < self.damping.steady:
            return []
        self._raises.clear()
        if self.active is False:
            return self._clear(alarm, self._changed)
        self.alarm = replace(alarm, flapping=False)
        return [self._raised(self.alarm)]

    def _raised(self, alarm: Alarm) -> Turn:
        return Turn(alarm, "raised" if self.shelved_until is None else None)
