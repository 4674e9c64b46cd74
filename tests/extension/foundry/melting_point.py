"""The event `melting_point {metal}`: what the handler returns is the ack, what it raises is the error."""

from __future__ import annotations

from collections.abc import Mapping

from server.extensions import Connection, Identifier, Namespace, NotFound, Payload

CELSIUS: Mapping[str, int] = {"copper": 1085, "zinc": 420}


class MeltingPoint(Payload):
    metal = Identifier(required=True)


async def melting_point(namespace: Namespace, connection: Connection, *, metal: str) -> Mapping[str, object]:
    if metal not in CELSIUS:
        raise NotFound(f"Nobody melts {metal} here")
    return {"metal": metal, "celsius": CELSIUS[metal]}
