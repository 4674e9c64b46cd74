"""What a namespace declares of an event that clients may send: its payload, its handler, its ack. It runs none."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from server.realtime import schema, told

Handler = Callable[..., Awaitable[Mapping[str, object] | None]]

#: Names that the libraries of clients keep to themselves: no event that an application sends or hears can have them.
RESERVED = frozenset(
    {"", "*", "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


@dataclass(frozen=True, slots=True)
class Event:
    """`rate` names the limit it counts under, beside the one for any event; `attachment` the binary data that comes
    with it; `ack` is what a success is answered with. `says` what it is for."""

    name: str
    shape: schema.Shape
    handler: Handler
    rate: str | None = None
    attachment: str | None = None
    ack: type[told.Ack] = told.AnyAck
    says: str = ""


def event(
    name: str,
    payload: type[schema.Payload] = schema.Payload,
    *,
    rate: str | None = None,
    attachment: str | None = None,
    ack: type[told.Ack] = told.AnyAck,
) -> Callable[[Handler], Handler]:
    """Declares a method as the handler of an event: it is called with the connection and the payload's fields as
    keyword arguments; the mapping it returns goes into the ack, and is as `ack` declares. Its docstring says what the
    event is for. An `attachment` is bytes, sent as the event's second argument or as a field of its payload."""

    def declare(handler: Handler) -> Handler:
        wanted = list(inspect.signature(handler).parameters)[2:]
        found = [*payload().fields, *([] if attachment is None else [attachment])]
        if sorted(wanted) != sorted(found):
            raise TypeError(f"event {name!r}: the handler takes {wanted}, its schema has {found}")
        handler.__dict__["event"] = (name, payload, rate, attachment, ack)
        return handler

    return declare
