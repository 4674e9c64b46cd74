"""Keeps what happens to machines: stores changes of status and alarms, and has alarms announced.

Its node is the one that reads the machines. Where the database is away alarms are announced all the same, and what
happened is stored later, as far as there is room. What a person did about an alarm on another node it hears of within
`LOOK_SECONDS`, by looking.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from server.namespaces.monitor import records
from server.namespaces.monitor.alarms import Announce, announcement
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.damping import Alarm, Damping
from server.namespaces.monitor.schemas import Status
from server.namespaces.monitor.watch import Change, Outcome, Past, Watch
from server.storage.database import Database
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0
LOOK_SECONDS = 1.0
#: An alarm waits for the database this long, so that it is stored before it is told.
PATIENCE_SECONDS = 0.3
#: Then it goes on without knowing what was before.
GRACE_SECONDS = 2.0
STORE_TIMEOUT_SECONDS = 15.0
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
FORGET_AT_ONCE = 1_000
STORE_AT_ONCE = 1_000
MOST_HELD = 10_000


class Journal:
    """`announce` sends an `equipment_alarm`. `dropped` counts what was never stored. Times are `now`'s and `saw`'s."""

    def __init__(
        self,
        database: Database,
        machines: Sequence[Machine],
        announce: Announce,
        *,
        retention_days: int,
        damping: Damping | None = None,
        most_held: int = MOST_HELD,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.dropped = 0
        self._database = database
        self._names = {machine.code: machine.name for machine in machines}
        self._announce = announce
        self._retention = timedelta(days=retention_days)
        self._damping = damping
        self._most_held = most_held
        self._now = now
        self._sleep = sleep
        self._reset()

    def _reset(self) -> None:
        self._watch = Watch(self._names, self._damping)
        self._early: deque[tuple[dict[str, Status], datetime]] | None = deque(maxlen=self._most_held)
        self._early_statuses: dict[str, Status] = {}
        self._resumed = False
        self._away = False
        self._first: datetime | None = None
        self._seen: datetime | None = None
        self._changes: deque[Change] = deque()
        self._alarms: dict[str, Alarm] = {}
        self._unshelved: dict[str, datetime] = {}
        self._events: deque[tuple[int, float, Mapping[str, object]]] = deque()
        self._taken = self._stored = 0
        self._work = asyncio.Event()
        self._told = asyncio.Event()
        self._tried = asyncio.Condition()

    async def keep(self) -> None:
        """While this node reads the machines; until cancelled. What was not stored by then is dropped: another node
        goes on with what was."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._store, self._tell, self._beat, self._look, self._retain):
                    group.create_task(work(), name=f"journal {work.__name__}")
        finally:
            if left := len(self._changes) + len(self._alarms):
                log.warning("equipment history was not stored in time", changes=left)
                self.dropped += left
            self._reset()

    def saw(self, statuses: Mapping[str, Status], at: datetime) -> None:
        """Of machines just read, or found disconnected; changed or not. Waits for nothing."""
        self._first = self._first or at
        self._seen = at
        if self._early is None:
            self._take(self._watch.saw(statuses, at))
        elif new := {code: each for code, each in statuses.items() if self._early_statuses.get(code) != each}:
            self._early_statuses |= new
            self._early.append((new, at))

    def _take(self, outcome: Outcome) -> None:
        if not outcome.changes and not outcome.news:
            return
        self._taken += 1
        self._changes.extend(outcome.changes)
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        for news in outcome.news:
            alarm, state = news.turn.alarm, news.turn.state
            self._alarms[alarm.alarm_id] = alarm
            if state == "unshelved":
                self._unshelved[alarm.alarm_id] = news.at
            if state is not None:
                name = self._names.get(alarm.equipment_code)
                event = announcement(alarm, state, name, news.status, news.previous, news.at)
                self._events.append((self._taken, deadline, event))
                self._told.set()
        self._shed()
        self._work.set()

    def _shed(self) -> None:
        """The oldest of what is held beyond the bound."""
        over = 0
        while len(self._changes) > self._most_held:
            self._changes.popleft()
            over += 1
        while len(self._alarms) > self._most_held:
            self._unshelved.pop(oldest := next(iter(self._alarms)), None)
            del self._alarms[oldest]
            over += 1
        while len(self._events) > self._most_held:
            self._events.popleft()
        self._count_dropped(over)

    def _count_dropped(self, number: int) -> None:
        if number:
            if not self.dropped:
                log.error("equipment history is lost: the database is away for too long")
            self.dropped += number

    # -- the database -------------------------------------------------------------------------------------------

    async def _store(self) -> None:
        grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._begin, Past())
        retry = FIRST_RETRY_SECONDS
        try:
            while True:
                try:
                    async with asyncio.timeout(STORE_TIMEOUT_SECONDS):
                        if not self._resumed:
                            await self._resume(grace)
                        self._work.clear()
                        await self._write()
                except Exception as error:  # whatever ails the database, machines are watched
                    if not self._away:
                        log.warning("equipment history is not stored", error=repr(error))
                    self._away = True
                    await self._notify()
                    await self._sleep(retry)
                    retry = min(2 * retry, LAST_RETRY_SECONDS)
                    continue
                if self._away:
                    log.info("equipment history is stored again", dropped=self.dropped)
                self._away, retry = False, FIRST_RETRY_SECONDS
                await self._notify()
                if not self._changes:
                    await self._work.wait()
        finally:
            grace.cancel()

    async def _notify(self) -> None:
        async with self._tried:
            self._tried.notify_all()

    async def _resume(self, grace: asyncio.TimerHandle) -> None:
        now = self._now()
        async with self._database.reading() as db:
            past = await records.past(db, self._names, now)
        grace.cancel()
        self._resumed = True
        self._begin(past, now)

    def _begin(self, past: Past, now: datetime | None = None) -> None:
        """From what was before; what was seen in the meantime follows it."""
        early, self._early = self._early, None
        outcome = self._watch.resume(past, self._first or now or self._now())
        before = {**past.last, **{change.equipment_code: change for change in outcome.changes}}
        self._changes = deque(_after(before, self._changes))
        self._take(outcome)
        for statuses, at in early or ():
            self._take(self._watch.saw(statuses, at))
        self._early_statuses = {}

    async def _write(self) -> None:
        taken, seen = self._taken, self._seen
        changes = [self._changes.popleft() for _ in range(min(len(self._changes), STORE_AT_ONCE))]
        alarms, self._alarms = self._alarms, {}
        unshelved, self._unshelved = self._unshelved, {}
        try:
            async with self._database.transaction() as db:
                await records.store(db, changes, alarms.values(), unshelved, seen)
        except BaseException:
            self._changes.extendleft(reversed(changes))
            self._alarms = alarms | self._alarms
            self._unshelved = unshelved | self._unshelved
            self._shed()
            raise
        if not self._changes:
            self._stored = taken

    # -- beside it --------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """In order; each once it is stored, or cannot be soon."""
        while True:
            while not self._events:
                self._told.clear()
                await self._told.wait()
            number, deadline, event = self._events.popleft()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._tried_to_store(number)
            try:
                await self._announce(event)
            except Exception:  # one that is not delivered may not be the last
                log.exception("alarm not announced", alarm_id=event["alarm_id"])

    async def _tried_to_store(self, number: int) -> None:
        async with self._tried:
            await self._tried.wait_for(lambda: self._away or self._stored >= number)

    async def _beat(self) -> None:
        """So that whoever reads next, and who asks, knows until when somebody watched."""
        while True:
            await self._sleep(HEARTBEAT_SECONDS)
            self._work.set()

    async def _look(self) -> None:
        while True:
            await self._sleep(LOOK_SECONDS)
            if not self._resumed or self._away:
                continue
            with suppress(Exception):  # the next write says so
                now = self._now()
                async with asyncio.timeout(STORE_TIMEOUT_SECONDS), self._database.reading() as db:
                    shelves = await records.shelves(db, now)
                self._watch.shelve(shelves, now)

    async def _retain(self) -> None:
        """In small batches, so that nobody waits for them."""
        while True:
            await self._sleep(RETENTION_SECONDS)
            try:
                await self._forget(self._now() - self._retention)
            except Exception as error:
                log.warning("old equipment history is not deleted", error=repr(error))

    async def _forget(self, before: datetime) -> None:
        code: str | None = ""
        while code is not None:
            async with self._database.reading() as db:
                code = await records.codes(db, code)
            forgotten = FORGET_AT_ONCE
            while code is not None and forgotten == FORGET_AT_ONCE:
                async with self._database.transaction() as db:
                    forgotten = await records.forget_changes(db, code, before, FORGET_AT_ONCE)
        forgotten = FORGET_AT_ONCE
        while forgotten == FORGET_AT_ONCE:
            async with self._database.transaction() as db:
                forgotten = await records.forget_alarms(db, before, FORGET_AT_ONCE)


def _after(before: dict[str, Change], changes: Iterable[Change]) -> Iterator[Change]:
    """As they are once it is known what was before: the first of a machine may have been none."""
    for change in changes:
        last = before.pop(change.equipment_code, None)
        if last is None or change.previous is not None:
            yield change
        elif last.status != change.status:
            yield replace(change, previous=last.status)
