"""Events that every node hears in Redis's order, the sender's too: for what a script numbers, or what no node sent.

A script that includes `TELL` logs and publishes them. It does not say what they are, or who may send them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import orjson
from socketio import packet as wire

from server.realtime.cluster.letters import Letter
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.scripts import KEEP
from server.realtime.packets import encode

LETTERS = 16_384  # that one number may stand for, one for each audience

#: `wire` is what `Ordered.wire` has. A letter's `number` at its `origin`: 0, with the origin `outside`, for one whose
#: sender does not send it anew. Rooms and channels as EMIT has them; `skip`, `key` and `sizes` are JSON.
TELL = (
    KEEP
    + """
local function encoded(wire, origin, number, rooms, skip, key, sizes, body)
  local header = {'"' .. origin .. '"', number, wire.namespace, cjson.encode(rooms), skip, key, sizes}
  return '[' .. table.concat(header, ',') .. ']\\n' .. body
end
local function tell(wire, origin, number, rooms, channels, skip, sizes, body)
  local offset = text(next_offset(wire.offset))
  local letter = encoded(wire, origin, number == 0 and offset or text(number), rooms, skip, 'null', sizes, body)
  for i, room in ipairs(rooms) do
    keep(wire.log .. room, wire.lost .. room, offset, letter, wire.retention, wire.cap, wire.bytes)
    publish(channels[i], wire.home .. room, offset .. ' ' .. letter)
  end
end
local function tell_volatile(wire, origin, room, channel, key, sizes, body)
  publish(channel, wire.home .. room, '0 ' .. encoded(wire, origin, 0, {room}, '[]', key, sizes, body))
end
"""
)


class Ordered:
    """`origin` is the node's, for such events: they come back to it, and are not among those that it delivered at
    once."""

    def __init__(self, manager: ClusterFanout, namespace: str) -> None:
        self._manager = manager
        self._namespace = namespace
        self.origin = f"{manager.node.id}+"

    @property
    def wire(self) -> Mapping[str, object]:
        keys, namespace, bounds = self._manager.node.keys, self._namespace, self._manager.bounds
        return {
            "namespace": orjson.dumps(namespace).decode(),
            "offset": keys.offset(namespace),
            "log": keys.log(namespace, ""),
            "lost": keys.lost(namespace, ""),
            "home": keys.home(namespace, ""),
            "channel": keys.channel(namespace, ""),
            "retention": int(bounds.retention * 1000),
            "cap": bounds.log,
            "bytes": bounds.log_bytes,
        }

    def take(self, number: int) -> bool:
        """From here on nothing up to this number is delivered here when it is heard. False where some of it was heard
        already, or nobody is here to hear it."""
        feed = self._manager.feed(self._namespace)
        if feed is None:
            return False
        first, last = (Letter(self.origin, number * LETTERS + i, self._namespace, (), (), ()) for i in (0, LETTERS - 1))
        return feed.is_news(first) and feed.is_news(last)

    def deliver_here(self, room: str, arguments: Sequence[Any], conflate: Hashable | None) -> None:
        """To the clients of this node only. It is volatile where it has a `conflate`, as `Delivery` means it."""
        parts = encode(wire.EVENT, self._namespace, list(arguments))
        key = None if conflate is None else conflate_key(str(arguments[0]), conflate)
        self._manager.deliver_here(Letter(self.origin, 0, self._namespace, [room], [], parts, key))


def conflate_key(event: str, conflate: Hashable) -> str:
    """As `ClusterFanout.deliver` has it."""
    return repr((event, conflate))
