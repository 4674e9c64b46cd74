"""What a node leaves to be done should it die: whoever finds it dead does it, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog

from server.realtime.cluster.commands import Commands
from server.realtime.cluster.keys import NODES, Keys
from server.realtime.cluster.scripts import script

log = structlog.get_logger(__name__)

LIFETIME_MS = 3_600_000  # of one that nobody finds

Body = Mapping[str, Any]  # JSON

#: KEYS wills. All of them, which are nobody else's from here on.
CLAIM = script("""
local wills = redis.call('HVALS', KEYS[1])
redis.call('DEL', KEYS[1])
return wills
""")


class Wills:
    def __init__(self, node: str, keys: Keys, commands: Commands) -> None:
        self._keys = keys
        self._commands = commands
        self._own = self._name(node)

    def write(self, key: str, verb: str, body: Body) -> None:
        """While Redis is away there are none. Waits for nothing."""
        if self._commands.up:
            self._commands.call("HSET", self._own, key, orjson.dumps([verb, body]))
            self._commands.call("PEXPIRE", self._own, LIFETIME_MS)

    def withdraw(self, key: str) -> None:
        if self._commands.up:
            self._commands.call("HDEL", self._own, key)

    async def execute(self, dead: str, answers: Mapping[str, Callable[[Body], Awaitable[Body | None]]]) -> None:
        """Raises RedisAway or RedisError."""
        for will in await self._commands.run(CLAIM, [self._name(dead)], []):
            verb, body = orjson.loads(will)
            if verb in answers:
                try:
                    await answers[verb](body)
                except Exception:
                    log.exception("a will could not be done", node=dead, verb=verb)

    def _name(self, node: str) -> str:
        return self._keys.key(NODES, "wills", node)
