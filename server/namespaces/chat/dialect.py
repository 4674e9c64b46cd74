"""How the plain WebSocket clients of two seeds speak to `/chat`: a2g's, whose types the events have, and the bank's."""

from __future__ import annotations

from server.errors import Conflict
from server.realtime.engine.dialect import Dialect, Fields, Message, failure

_VERDICT = ("intent", "suggested_action", "source_documents")


def _message(payload: Fields) -> Message:
    """In the seed the time of a message is its `timestamp`."""
    return "message", {**payload, "timestamp": payload["created_at"]}


CHAT = Dialect(types={"message": _message})


def _unheard(payload: Fields) -> None:
    return None


def _said(payload: Fields) -> Message:
    kind, message = _message(payload)
    return kind, {**message, "user_message": payload["content"]}


def _answered(payload: Fields) -> Message:
    """The whole answer at once; what is wrong with it as over HTTP."""
    about = {name: payload.get(name) for name in ("message_id", "session_id")}
    if (error := payload.get("error")) is not None:
        return "error", {**about, **error}
    if payload.get("cancelled"):
        return "error", {**about, **Conflict("The answer was stopped").to_wire()}
    data = {"ai_message": payload.get("content", ""), **{name: payload.get(name) for name in _VERDICT}}
    rest = {name: payload.get(name) for name in ("seq", "latency_ms")}
    return "response", {**about, **rest, "data": data}


def _joined(said: Fields, result: Fields) -> Message:
    """Who was away, or went on by HTTP, finds in it what was said meanwhile."""
    if not result["ok"]:
        return failure("join", result)
    return "status", {"status": "connected", **{name: value for name, value in result.items() if name != "ok"}}


BANK = Dialect(
    fields={"user_message": "content"},
    types={
        "connected": _unheard,
        "message": _said,
        "stream_start": "processing",
        "stream_chunk": _unheard,
        "stream_end": _answered,
        "system": "status",
    },
    replies={"join": _joined, "message": None},
    pings=True,
    control_pongs=True,  # the seed's scripts read no `ping`
)
