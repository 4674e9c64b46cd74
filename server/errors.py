"""Every error that has a name on the wire: its code, its close code, its HTTP status.

Raising is the business of services; turning an error into an ack, an event or a response is the doors'.

AtriumError
├── InvalidMessage          INVALID_MESSAGE
├── UnknownEvent            UNKNOWN_EVENT
├── UnknownRequest          UNKNOWN_REQUEST
├── Forbidden               FORBIDDEN
├── NotFound                NOT_FOUND
├── Conflict                CONFLICT
├── RateLimited             RATE_LIMITED
├── LimitExceeded           LIMIT_EXCEEDED
├── HandlerTimeout          TIMEOUT
├── UnsupportedType         UNSUPPORTED_TYPE
├── AgentUnavailable        AGENT_UNAVAILABLE
├── NodeSilent              NODE_SILENT
├── NoData                  NO_DATA
├── QueryCancelled          CANCELLED
├── AskFailed
│   ├── ClientTimeout       CLIENT_TIMEOUT
│   └── ClientGone          CLIENT_GONE
├── AskWouldDeadlock        INTERNAL (a bug of ours, never a client's)
├── InternalError           INTERNAL
└── ConnectionClosed        (carries a close code; also refuses a connect)
    ├── TokenMissing        TOKEN_MISSING     1008
    ├── TokenExpired        TOKEN_EXPIRED     4001
    ├── TokenInvalid        TOKEN_INVALID     4001
    ├── OriginRefused       ORIGIN_REFUSED    1008
    ├── TooManyConnects     RATE_LIMITED      1008
    ├── ServerFull          SERVER_FULL       1013
    ├── MessageTooBig       MESSAGE_TOO_BIG   1009
    ├── SessionReplaced     SESSION_REPLACED  4009
    ├── HeartbeatLost       HEARTBEAT_LOST    4003
    ├── DisconnectedByAdmin DISCONNECTED      1000
    └── GoingAway           GOING_AWAY        1001
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class AtriumError(Exception):
    """An error a client may see. `details` maps field names to what is wrong with them."""

    code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    default_message: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str = "", *, details: Mapping[str, object] | None = None) -> None:
        self.message = message or self.default_message
        self.details = details
        super().__init__(self.message)

    def to_wire(self) -> dict[str, object]:
        """The `error` object of SPEC §3."""
        wire: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details is not None:
            wire["details"] = dict(self.details)
        return wire


class InvalidMessage(AtriumError):
    code = "INVALID_MESSAGE"
    http_status = 422
    default_message = "The message is not valid"


class UnknownEvent(AtriumError):
    code = "UNKNOWN_EVENT"
    http_status = 404
    default_message = "No such event"


class UnknownRequest(AtriumError):
    code = "UNKNOWN_REQUEST"
    http_status = 404
    default_message = "No such request is open for you"


class Forbidden(AtriumError):
    code = "FORBIDDEN"
    http_status = 403
    default_message = "You may not do this"


class NotFound(AtriumError):
    code = "NOT_FOUND"
    http_status = 404
    default_message = "Not found"


class Conflict(AtriumError):
    code = "CONFLICT"
    http_status = 409
    default_message = "This conflicts with what is stored"


class LimitExceeded(AtriumError):
    code = "LIMIT_EXCEEDED"
    http_status = 429
    default_message = "Too many at once"


class HandlerTimeout(AtriumError):
    code = "TIMEOUT"
    http_status = 504
    default_message = "The server took too long"


class UnsupportedType(AtriumError):
    code = "UNSUPPORTED_TYPE"
    http_status = 415
    default_message = "Files of this type are not taken"


class AgentUnavailable(AtriumError):
    """What an agent's backend rests on is away, refuses, or broke off; the reason is in the log."""

    code = "AGENT_UNAVAILABLE"
    http_status = 503
    default_message = "The agent cannot answer now"


class NodeSilent(AtriumError):
    """What was asked for may be on a node that lives and did not answer in time: asked again, it may be found."""

    code = "NODE_SILENT"
    http_status = 503
    default_message = "A node did not answer in time"


class NoData(AtriumError):
    code = "NO_DATA"
    http_status = 404
    default_message = "There is no data to answer from"


class QueryCancelled(AtriumError):
    code = "CANCELLED"
    http_status = 409
    default_message = "The query was cancelled"


class RateLimited(AtriumError):
    """`retry_after` is in milliseconds."""

    code = "RATE_LIMITED"
    http_status = 429
    default_message = "Too many requests"

    def __init__(self, message: str = "", *, retry_after: int, limit: int, remaining: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit
        self.remaining = remaining

    def to_wire(self) -> dict[str, object]:
        return super().to_wire() | {
            "retry_after": self.retry_after,
            "limit": self.limit,
            "remaining": self.remaining,
        }


class InternalError(AtriumError):
    """What a client sees of an unexpected exception: `error_id` also stands in the log beside the traceback."""

    def __init__(self, error_id: str) -> None:
        super().__init__()
        self.error_id = error_id

    def to_wire(self) -> dict[str, object]:
        return super().to_wire() | {"error_id": self.error_id}


class AskFailed(AtriumError):
    """A question to a client got no usable answer."""


class ClientTimeout(AskFailed):
    code = "CLIENT_TIMEOUT"
    default_message = "The client did not answer in time"


class ClientGone(AskFailed):
    code = "CLIENT_GONE"
    default_message = "The client left before it answered"


class AskWouldDeadlock(AtriumError):
    default_message = (
        "A handler may not await its own connection's answer: events of one connection are handled one at a "
        "time, so the answer could never arrive. Ask from a background task."
    )


class ConnectionClosed(AtriumError):
    """Ends a connection, or refuses it. `reconnect` tells a client whether to try again by itself (SPEC §1)."""

    close_code: ClassVar[int] = 1008
    http_status = 403
    reconnect: ClassVar[bool] = False

    def to_refusal(self) -> dict[str, object]:
        """What a refused connect carries as `err.data` (SPEC §1)."""
        return self.to_wire() | {"close_code": self.close_code}

    def to_reason(self) -> dict[str, object]:
        """The `disconnecting_reason` event (SPEC §1)."""
        return self.to_refusal() | {"reconnect": self.reconnect}


class TokenMissing(ConnectionClosed):
    code = "TOKEN_MISSING"
    http_status = 401
    default_message = "A token is required"


class TokenExpired(ConnectionClosed):
    code = "TOKEN_EXPIRED"
    close_code = 4001
    http_status = 401
    default_message = "The token has expired"


class TokenInvalid(ConnectionClosed):
    code = "TOKEN_INVALID"
    close_code = 4001
    http_status = 401
    default_message = "The token is not valid"


class OriginRefused(ConnectionClosed):
    code = "ORIGIN_REFUSED"
    default_message = "This origin may not connect"


class TooManyConnects(ConnectionClosed):
    """`retry_after` is in milliseconds."""

    code = "RATE_LIMITED"
    http_status = 429
    reconnect = True
    default_message = "Too many connects from this address"

    def __init__(self, *, retry_after: int, limit: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.limit = limit

    def to_wire(self) -> dict[str, object]:
        return super().to_wire() | {"retry_after": self.retry_after, "limit": self.limit, "remaining": 0}


class ServerFull(ConnectionClosed):
    code = "SERVER_FULL"
    close_code = 1013
    http_status = 503
    reconnect = True
    default_message = "The server is full"


class MessageTooBig(ConnectionClosed):
    code = "MESSAGE_TOO_BIG"
    close_code = 1009
    http_status = 413
    default_message = "The message is too big"


class SessionReplaced(ConnectionClosed):
    code = "SESSION_REPLACED"
    close_code = 4009
    default_message = "A newer session of this user took over"


class HeartbeatLost(ConnectionClosed):
    """Told for the case that its client hears it after all."""

    code = "HEARTBEAT_LOST"
    close_code = 4003
    reconnect = True
    default_message = "The pings were not answered"


class DisconnectedByAdmin(ConnectionClosed):
    code = "DISCONNECTED"
    close_code = 1000
    default_message = "Disconnected by an administrator"


class GoingAway(ConnectionClosed):
    code = "GOING_AWAY"
    close_code = 1001
    http_status = 503
    reconnect = True
    default_message = "The server is going away"


class ConfigError(Exception):
    """A file in `config/` is not usable; the message names the file and what is wrong in it. Never on the wire."""
