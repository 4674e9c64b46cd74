"""What the server tells the clients of every namespace, as schemas: events, questions and acks. Nothing is sent or
checked by them while it runs; the AsyncAPI document is made of them, and the tests hold what is sent against them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import INCLUDE, Schema, fields, validate

from server.errors import AtriumError
from server.realtime.schema import Count, Flag

#: Of `Namespace.tells`: any other event than those that are named.
ANY = "*"


class Told(Schema):
    """Every field is there, but for those named `optional`; what may be null says so."""

    optional: ClassVar[Collection[str]] = ()

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = not any(
            field_name in each.optional for each in type(self).__mro__ if issubclass(each, Told)
        )


class Moment(fields.String):
    """ISO-8601 in UTC, as `timestamps.iso_utc`."""

    def json_schema(self) -> dict[str, object]:
        return {"format": "date-time"}


class OneOf(fields.String):
    def __init__(self, *values: str, **options: Any) -> None:
        super().__init__(validate=validate.OneOf(values), **options)


class Exactly(fields.Boolean):
    def __init__(self, value: bool, **options: Any) -> None:
        self._value = value
        super().__init__(validate=validate.Equal(value), **options)

    def json_schema(self) -> dict[str, object]:
        return {"const": self._value}


class Code(fields.String):
    """Of an error: one of `errors()`, of which extensions may bring more."""


def errors(kind: type[AtriumError] = AtriumError) -> list[type[AtriumError]]:
    """All that have a name on the wire."""
    return [kind, *(each for below in kind.__subclasses__() for each in errors(below))]


# -- errors ---------------------------------------------------------------------------------------------------------


class Error(Told):
    """`details` maps the payload's fields to what is wrong with them, or says more in another way. `retry_after` is in
    milliseconds. `error_id` also stands in the server's log."""

    optional: ClassVar[Collection[str]] = ("details", "retry_after", "limit", "remaining", "error_id")

    code = Code()
    message = fields.String()
    details = fields.Dict(keys=fields.String())
    retry_after = Count()
    limit = Count()
    remaining = Count()
    error_id = fields.String()


class ErrorEvent(Error):
    """What became of an event that was sent without an ack, or of an answer to the question `requestId`."""

    optional = ("request_id",)

    request_id = fields.String(data_key="requestId")


class Refusal(Error):
    """Why a connect was refused: `err.data` of Socket.IO's `connect_error`. `close_code` is what a plain WebSocket is
    closed with."""

    close_code = Count()


class DisconnectingReason(Refusal):
    """Just before the server ends the connection. `reconnect`: whether a client should come back by itself."""

    reconnect = Flag()


# -- acks -----------------------------------------------------------------------------------------------------------


class Ack(Told):
    """It was done."""

    ok = Exactly(True)


class Counted(Ack):
    """`remaining`: how many more the rate allows now; not there where rates are off."""

    optional = ("remaining",)

    remaining = Count()


class AnyAck(Counted):
    """Whoever handles the event does not say what more there is in it."""

    class Meta:
        unknown = INCLUDE


class Failed(Told):
    """It was not done."""

    ok = Exactly(False)
    error = fields.Nested(Error)


class PongAck(Ack):
    """As `pong`."""

    timestamp = fields.Raw()


class Authenticated(Ack):
    """`expires_at` is in seconds since the epoch."""

    user_id = fields.String()
    expires_at = fields.Float(allow_none=True)


# -- events ---------------------------------------------------------------------------------------------------------


class Connected(Told):
    """The first event. `recovered`: the session goes on, and what was missed follows."""

    connection_id = fields.String()
    user_id = fields.String()
    namespace = fields.String()
    server_time = Moment()
    recovered = Flag()


class Pong(Told):
    """The `timestamp` of the ping, whatever it was; the server's where it had none."""

    timestamp = fields.Raw()


class TokenExpiring(Told):
    """The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection."""

    expires_in = Count()


class ServerDraining(Told):
    """The server goes away; the client is to reconnect after so many milliseconds."""

    reconnect_after_ms = Count()


class RequestExpired(Told):
    """The question need not be answered any more."""

    request_id = fields.String(data_key="requestId")


# -- questions ------------------------------------------------------------------------------------------------------


class Request(Told):
    """`requestId` is good for one answer: as the ack, or in an event."""

    request_id = fields.String(data_key="requestId")


@dataclass(frozen=True, slots=True)
class Question:
    """What the server asks, and what it takes for an answer."""

    payload: type[Request]
    answer: type[Schema]


Tells = Mapping[str, type[Schema]]

#: By every namespace.
COMMON: Tells = {
    "pong": Pong,
    "error": ErrorEvent,
    "token_expiring": TokenExpiring,
    "disconnecting_reason": DisconnectingReason,
    "server_draining": ServerDraining,
    "request_expired": RequestExpired,
}

#: By those that greet with `connected`.
TELLS: Tells = {"connected": Connected, **COMMON}
