"""When shifts are, by the clocks of the plant's time zone. Who worked in them, and how much, is not its business."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Shift:
    """From `start` to before `end`, in UTC: on the days when clocks change it is an hour longer or shorter."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Shifts:
    """Each starts daily when the clocks of `zone` first show its time, or jump over it, and lasts until the next."""

    zone: ZoneInfo = UTC_ZONE
    starts: tuple[tuple[str, time], ...] = (("day", time()),)

    def between(self, start: datetime, end: datetime) -> Iterator[Shift]:
        """Those that any of this time lies in, whole, in order: they leave out no moment and hold none twice."""
        first, last = (moment.astimezone(self.zone).date() for moment in (start, end))
        for (name, begins), (_, ends) in pairwise(self._starts(first - 2 * DAY, last + 2 * DAY)):
            if begins < ends and begins < end and ends > start:
                yield Shift(name, begins, ends)

    def _starts(self, day: date, last: date) -> Iterator[tuple[str, datetime]]:
        daily = sorted(self.starts, key=lambda start: start[1])
        while day <= last:
            for name, at in daily:
                yield name, _first(datetime.combine(day, at), self.zone)
            day += DAY


def _first(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment when clocks first show this time, or a later one."""
    shown = local.replace(tzinfo=zone)
    after = shown.astimezone(UTC)
    if after.astimezone(zone).replace(tzinfo=None) == local:
        return after
    before = shown.replace(fold=1).astimezone(UTC)  # clocks jump over it, between these two
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < local:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
