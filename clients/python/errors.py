"""What can go wrong for a client. Each has a `code`: the server's, or one of those below, as in clients/js.

ClientError
├── Refused         the server's own: FORBIDDEN, RATE_LIMITED, TOKEN_EXPIRED, …
├── NotConnected    NOT_CONNECTED: not in time; UNREACHABLE: no server answers there; TOKEN_UNAVAILABLE, CLOSED
├── Lost            CONNECTION_LOST, or why the server ended it: GOING_AWAY, SESSION_REPLACED, …; or CLIENT_FAULT
├── TimedOut        TIMEOUT
└── OutboxFull      LIMIT_EXCEEDED
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Of refusals that pass: the server is full, goes away, or took too long.
PASSING = frozenset({"RATE_LIMITED", "SERVER_FULL", "GOING_AWAY", "TIMEOUT", "INTERNAL", "HEARTBEAT_LOST"})


class ClientError(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class Refused(ClientError):
    """The server said no: to a connect, to an event or to a request. `fault` is all that it said."""

    def __init__(self, fault: Mapping[str, Any]) -> None:
        self.fault = dict(fault)
        details = f" {dict(fault['details'])}" if fault.get("details") else ""
        super().__init__(str(fault.get("code", "REFUSED")), f"{fault.get('message', 'refused')}{details}")

    @property
    def passing(self) -> bool:
        """The same may be accepted later."""
        return self.code in PASSING

    @property
    def retry_after(self) -> float:
        """Seconds, 0 where the server did not say."""
        told = self.fault.get("retry_after", 0)
        return told / 1000 if isinstance(told, int | float) and told > 0 else 0.0


class NotConnected(ClientError):
    """There is no connection, and no way to have one now: nothing was sent."""


class Lost(ClientError):
    """The connection ended before an answer came: what was asked may have been done or not."""


class TimedOut(ClientError):
    """No answer came in time: what was asked may have been done or not."""

    def __init__(self, message: str) -> None:
        super().__init__("TIMEOUT", message)


class OutboxFull(ClientError):
    def __init__(self, most: int) -> None:
        super().__init__("LIMIT_EXCEEDED", f"{most} messages wait to be sent")
