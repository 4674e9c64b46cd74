"""What would be said for each of many messages is said once in a while, with how often it was left unsaid."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SILENT_SECONDS = 5.0


class Complaints:
    def __init__(self, log: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._said_at = float("-inf")
        self._unsaid = 0

    def say(self, event: str, **details: object) -> None:
        now = self._clock()
        if now - self._said_at < SILENT_SECONDS:
            self._unsaid += 1
            return
        self._log.warning(event, **details, unsaid=self._unsaid)
        self._said_at, self._unsaid = now, 0
