"""How this process is: memory, processor, and how late its event loop is. What that means is not judged here."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import psutil

PROBE_SECONDS = 0.2
FILES_EVERY = 10  # readings: with many connections there is much to count


@dataclass(slots=True)
class Vitals:
    """Of the last second, `lag_peak` of the last minute. Lags in seconds, the processor's time in percent of a core."""

    rss_bytes: int | None = None
    cpu_percent: float | None = None
    lag: float = 0.0
    lag_peak: float = 0.0
    threads: int | None = None
    open_files: int | None = None


class Pulse:
    """Takes the process's pulse; `second` is called once a second."""

    def __init__(self) -> None:
        self.vitals = Vitals()
        self._process: psutil.Process | None = None
        self._lag = 0.0
        self._lags: deque[float] = deque(maxlen=60)
        self._cpu = (time.monotonic(), time.process_time())
        self._readings = 0

    async def probe(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self._lag = max(self._lag, loop.time() - due)

    async def second(self) -> Vitals:
        vitals = self.vitals
        vitals.lag, self._lag = self._lag, 0.0
        self._lags.append(vitals.lag)
        vitals.lag_peak = max(self._lags)
        (then, used), self._cpu = self._cpu, (time.monotonic(), time.process_time())
        if self._cpu[0] > then:
            vitals.cpu_percent = round(100 * (self._cpu[1] - used) / (self._cpu[0] - then), 1)
        await asyncio.to_thread(self._read, files=self._readings % FILES_EVERY == 0)
        self._readings += 1
        return vitals

    def _read(self, *, files: bool) -> None:
        """What the system tells by files."""
        vitals = self.vitals
        try:
            process = self._process = self._process or psutil.Process()
            with process.oneshot():
                vitals.rss_bytes = process.memory_info().rss
                vitals.threads = process.num_threads()
            if files and hasattr(process, "num_fds"):
                vitals.open_files = process.num_fds()
        except (psutil.Error, OSError):
            vitals.rss_bytes = vitals.threads = vitals.open_files = None
