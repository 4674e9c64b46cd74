"""Several workers on one port, each a process and a node of its own: started, started again when they die, ended.

It serves nothing itself and knows of a worker only whether it has come to serve. What joins the two is the worker's
standard input, a socket: the worker writes a byte when it serves, and ends when the supervisor's side is closed, as
the kernel does for a supervisor that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence

import structlog

log = structlog.get_logger(__name__)

LIFELINE = 0  # the worker's file descriptor
SERVING = b"+"
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 30.0
SETTLED_SECONDS = 60.0  # a worker that served as long died of something new


def tell_serving() -> None:
    """Called by a worker."""
    with contextlib.suppress(OSError):  # the supervisor is gone: the lifeline says so
        os.write(LIFELINE, SERVING)


def watch_lifeline(ended: Callable[[], None]) -> None:
    """Called by a worker: `ended` is called when its supervisor is no more."""
    loop = asyncio.get_running_loop()

    def readable() -> None:  # nothing is ever written to it
        loop.remove_reader(LIFELINE)
        ended()

    loop.add_reader(LIFELINE, readable)


def reserve(host: str, port: int) -> socket.socket:
    """Holds a port for the workers; 0 is any that is free. Raises OSError where somebody else serves on it: with
    SO_REUSEPORT alone two servers of one user would share it unnoticed."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held


class Backoff:
    """How long to wait before a worker is started again."""

    def __init__(self) -> None:
        self._delay = FIRST_DELAY_SECONDS

    def next(self, lived: float) -> float:
        """In seconds, after it `lived` so many."""
        if lived >= SETTLED_SECONDS:
            self._delay = FIRST_DELAY_SECONDS
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY_SECONDS)
        return delay


class Supervisor:
    def __init__(
        self, command: Sequence[str], workers: int, *, environ: Mapping[str, str], stop_seconds: float
    ) -> None:
        """`stop_seconds`: what workers that were told to end have before they are killed."""
        self._command = command
        self._count = workers
        self._environ = environ
        self._stop_seconds = stop_seconds
        self._stopping = asyncio.Event()
        self._running: set[asyncio.subprocess.Process] = set()

    async def run(self) -> int:
        """Until `stop`, or until a worker cannot start; what to exit with."""
        keepers = {asyncio.create_task(self._keep(number), name=f"worker {number}") for number in range(self._count)}
        done, rest = await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        if rest:
            await asyncio.wait(rest)
        return next((task.result() for task in (*done, *rest) if task.result()), 0)

    def stop(self) -> None:
        """Tells every worker to end."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for process in self._running:
            _signal(process, signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._stop_seconds, self.kill)

    def kill(self) -> None:
        """At once."""
        self._stopping.set()
        for process in self._running:
            _signal(process, signal.SIGKILL)

    async def _keep(self, number: int) -> int:
        """Keeps one worker running; what it exited with if it never came to serve."""
        backoff = Backoff()
        clock = asyncio.get_running_loop().time
        ever_served = False
        while not self._stopping.is_set():
            started = clock()
            try:
                code, served = await self._run_once(number)
            except OSError as error:
                log.error("no process for a worker", worker=number, error=str(error))  # noqa: TRY400
                code, served = 1, False
            ever_served |= served
            if self._stopping.is_set():
                break
            if code > 0 and not ever_served:
                log.error("a worker cannot start", worker=number, exit_code=code)
                return code
            delay = backoff.next(clock() - started)
            log.warning("a worker died", worker=number, exit_code=code, again_in=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
        return 0

    async def _run_once(self, number: int) -> tuple[int, bool]:
        """Its exit code, negative for a signal, and whether it served."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=theirs.fileno(),
                env=self._environ,
                process_group=0,  # else Ctrl-C is an exception in one that is starting
            )
            theirs.close()
            self._running.add(process)
            if self._stopping.is_set():
                process.terminate()
            log.info("a worker starts", worker=number, pid=process.pid)
            try:
                code = await process.wait()
            finally:
                self._running.discard(process)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                return code, bool(ours.recv(1))
        return code, False


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
