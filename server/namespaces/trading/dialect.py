"""How the seed's plain WebSocket clients hear `/trading`."""

from __future__ import annotations

from server.errors import InvalidMessage
from server.realtime.engine.dialect import MOST_ECHOED, Dialect, Fields, Message, failure


def _subscribed(said: Fields, result: Fields) -> Message:
    """As in the seed, a channel that may not be had is a result too; one that was not named is an error."""
    if result["ok"]:
        return "subscription_result", {name: value for name, value in result.items() if name != "ok"}
    if result["error"]["code"] == InvalidMessage.code:
        return failure("subscribe", result)
    channel = said.get("channel")
    named = channel[:MOST_ECHOED] if isinstance(channel, str) else None  # nobody may have looked at it yet
    return "subscription_result", {"channel": named, "success": False, **result["error"]}


#: What is published has a type of its own, and a message cannot have two.
TRADING = Dialect(fields={"event": "type"}, replies={"subscribe": _subscribed})
