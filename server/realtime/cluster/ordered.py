"""Events that every node hears in Redis's order, the sender's too: for what a script numbers, or what no node sent.

A script that includes `scripts.TELL` logs and publishes them. It does not say what they are, or who may send them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from socketio import packet as wire

from server.realtime.cluster.letters import Letter, conflation
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.packets import encode

LETTERS = 16_384  # that one number may stand for, one for each audience


class Ordered:
    """`origin` is the node's, for such events: they come back to it, and are not among those that it delivered at
    once."""

    def __init__(self, manager: ClusterFanout, namespace: str) -> None:
        self._manager = manager
        self._namespace = namespace
        self.origin = f"{manager.node.id}+"

    def take(self, number: int) -> bool:
        """From here on nothing up to this number is delivered here when it is heard. False where some of it was heard
        already, or nobody is here to hear it."""
        feed = self._manager.feed(self._namespace)
        if feed is None:
            return False
        first = number * LETTERS
        return feed.is_news(self.origin, first) and feed.is_news(self.origin, first + LETTERS - 1)

    def deliver_here(self, rooms: Sequence[str], arguments: Sequence[Any], conflate: Hashable | None) -> None:
        """To the clients of this node only. It is volatile where it has a `conflate`, as `Delivery` means it."""
        parts = encode(wire.EVENT, self._namespace, list(arguments))
        key, seconds = conflation(str(arguments[0]), conflate)
        self._manager.deliver_here(Letter(self.origin, 0, self._namespace, rooms, [], parts, key, seconds=seconds))
