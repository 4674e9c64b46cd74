"""Who is typing where, and until when: five seconds after they last said so. What others hear is the service's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from server.realtime.connection import Connection

SILENCE_SECONDS = 5.0  # SPEC §4


class Timer(Protocol):
    def cancel(self) -> None: ...


#: Calls back after so many seconds, unless cancelled.
Later = Callable[[float, Callable[[], None]], Timer]


def on_loop(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


class Typists:
    """Bounded by the rooms a connection may be in: only those who joined a session may type in it."""

    def __init__(self, ended: Callable[[str, Connection], None], later: Later = on_loop) -> None:
        """`ended(session_id, connection)`: it fell silent."""
        self._ended = ended
        self._later = later
        self._timers: dict[tuple[str, str], Timer] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._timers)

    def start(self, session_id: str, connection: Connection) -> None:
        """Typing, or typing still."""
        self.stop(session_id, connection)
        if self._closed:
            return
        key = (session_id, connection.id)

        def silent() -> None:
            del self._timers[key]
            self._ended(session_id, connection)

        self._timers[key] = self._later(SILENCE_SECONDS, silent)

    def stop(self, session_id: str, connection: Connection) -> bool:
        """Whether it was typing."""
        timer = self._timers.pop((session_id, connection.id), None)
        if timer is None:
            return False
        timer.cancel()
        return True

    def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
