"""The tasks that run handlers: those of one connection in order, all connections side by side, each under its deadline.

A worker takes the inboxes that are ready one after the other. As long as no handler suspends, one worker serves all
that came in during a turn of the loop: a task for each event would cost more than most handlers. Where one does
suspend, another worker takes over what is ready.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from server.realtime.tasks import Tasks

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]

MAX_WAITING = 64
MAX_IDLE = 8
WORKS_A_TURN = 64  # before others than handlers get their turn


class Inbox:
    """One connection's events that wait for their turn. A full one makes whoever fills it wait, and with it the reader
    of the socket: a client that floods is held by TCP, not by memory."""

    __slots__ = ("_closed", "_idle", "_max_waiting", "_next", "_space", "_waiting", "_workers", "busy", "timeout")

    def __init__(self, workers: Workers, timeout: float | None = None, max_waiting: int = MAX_WAITING) -> None:
        """`timeout`: seconds for one handler; None for ever. The work itself must not raise."""
        self.timeout = timeout
        self.busy = False
        self._workers = workers
        self._max_waiting = max_waiting
        self._next: Work | None = None  # mostly there is no other
        self._waiting: deque[Work] | None = None
        self._closed = False
        self._space: asyncio.Future[None] | None = None
        self._idle: asyncio.Future[None] | None = None

    def put(self, work: Work) -> Awaitable[None] | None:
        """What it returns is awaited before the next `put`. What comes after its close is dropped."""
        if self._closed:
            return None
        if not self.busy:
            self.busy = True
            self._next = work
            self._workers.ready(self)
            return None
        self._append(work)
        if self._waiting is not None and len(self._waiting) >= self._max_waiting:
            if self._space is None:
                self._space = asyncio.get_running_loop().create_future()
            return asyncio.shield(self._space)
        return None

    def close(self, last: Work) -> None:
        """`last` is done after what came before it, and nothing after it."""
        self._closed = True
        self._append(last)
        self._make_space()

    def take(self) -> Work | None:
        if (work := self._next) is not None:
            self._next = None
            return work
        if not self._waiting:
            self.busy = False
            self._waiting = None  # an idle connection holds no queue
            if self._idle is not None:
                self._idle.set_result(None)
                self._idle = None
            return None
        work = self._waiting.popleft()
        self._make_space()
        return work

    async def drained(self) -> None:
        """All that came is done."""
        while self.busy:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def _append(self, work: Work) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(work)
        if not self.busy:
            self.busy = True
            self._workers.ready(self)

    def _make_space(self) -> None:
        if self._space is not None:
            self._space.set_result(None)
            self._space = None


class _Worker:
    __slots__ = ("expired", "sleeping", "task", "timeout", "timer")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.sleeping: asyncio.Future[None] | None = None
        self.timeout: float | None = None  # of the handler that runs
        self.timer: asyncio.TimerHandle | None = None  # set once the handler has suspended
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        if self.task is not None:
            self.task.cancel()

    def acknowledge(self) -> None:
        """The cancellation was the deadline's, and is over."""
        self.expired = False
        if self.task is not None:
            self.task.uncancel()

    def settle(self) -> None:
        """After a handler that had suspended."""
        self.timeout = None
        if self.expired:  # and the handler kept its cancellation to itself
            self.acknowledge()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Workers:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._ready: deque[Inbox] = deque()
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        self._idle: list[_Worker] = []
        self._waking = False
        self._unchecked: list[_Worker] = []

    def ready(self, inbox: Inbox) -> None:
        self._ready.append(inbox)
        if not self._waking:
            self._wake()

    def timed_out(self) -> bool:
        """Asked on CancelledError by who called a handler: whether its deadline was the cause."""
        task = asyncio.current_task()
        worker = None if task is None else self._workers.get(task)
        if worker is None or not worker.expired:
            return False
        worker.acknowledge()
        return True

    def _wake(self) -> None:
        self._waking = True
        if self._idle:
            sleeping = self._idle.pop().sleeping
            if sleeping is not None:
                sleeping.set_result(None)
            return
        worker = _Worker()
        worker.task = self._tasks.start(self._serve(worker), "worker")
        self._workers[worker.task] = worker

    async def _serve(self, worker: _Worker) -> None:
        try:
            while True:
                self._waking = False
                await self._work(worker)
                if len(self._idle) >= MAX_IDLE:
                    return
                worker.sleeping = asyncio.get_running_loop().create_future()
                self._idle.append(worker)
                await worker.sleeping
        finally:
            if worker.task is not None:
                self._workers.pop(worker.task, None)

    async def _work(self, worker: _Worker) -> None:
        self._check_soon(worker)
        done = 0
        while self._ready:
            inbox = self._ready.popleft()
            while (work := inbox.take()) is not None:
                worker.timeout = inbox.timeout
                try:
                    await work()
                except Exception:
                    log.exception("work failed")
                except asyncio.CancelledError:
                    worker.settle()
                    if worker.task is None or worker.task.cancelling():
                        raise
                    log.exception("work was cancelled")  # what it waited for was
                except BaseException:
                    worker.settle()
                    raise
                if worker.timer is None and not worker.expired:
                    worker.timeout = None
                else:
                    worker.settle()
                    self._check_soon(worker)
                if worker.task is not None and worker.task.cancelling():
                    raise asyncio.CancelledError  # the work made something else of its own
                done += 1
                if done % WORKS_A_TURN == 0:
                    await asyncio.sleep(0)
                    self._check_soon(worker)

    def _check_soon(self, worker: _Worker) -> None:
        if not self._unchecked:
            asyncio.get_running_loop().call_soon(self._check)
        self._unchecked.append(worker)

    def _check(self) -> None:
        """Runs after the workers had their turn: what still runs has suspended."""
        unchecked, self._unchecked = self._unchecked, []
        for worker in unchecked:
            if worker.timeout is not None and worker.timer is None:
                worker.timer = asyncio.get_running_loop().call_later(worker.timeout, worker.expire)
        if self._ready and not self._waking:
            self._wake()
