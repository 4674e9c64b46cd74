"""How the seed's plain WebSocket clients hear `/monitor`."""

from __future__ import annotations

from server.realtime.engine.dialect import Dialect, Fields, Message


def _connected(payload: Fields) -> Message:
    return _counted("connection_status", payload)


def _disconnected(payload: Fields) -> Message:
    return _counted("connection_status", {"status": "disconnected", **payload})


def _alarm(payload: Fields) -> Message:
    return _counted("equipment_alarm", payload)


def _counted(kind: str, payload: Fields) -> Message:
    """The seed's test script counts the `equipment` of whatever comes unasked."""
    return kind, {**payload, "equipment": []}


MONITOR = Dialect(
    types={
        "connection_status": _connected,
        "disconnecting_reason": _disconnected,
        "equipment_alarm": _alarm,
    }
)
