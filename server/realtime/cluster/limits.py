"""Rates counted by all nodes together, in Redis; while it is away each node counts for itself.

throttled-py's own Redis store is no use here: it makes connections of its own that wait for as long as Redis does not
answer, and its windows go by each node's clock. So this is the same sliding window as one script, by Redis's clock.
"""

from __future__ import annotations

from server.errors import RateLimited
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.cluster.scripts import script
from server.realtime.limits import Counter, MemoryCounter, Rate

#: Uses are counted by period of the clock. Of those in the period before, so many count as are still within a period.
#: KEYS counter. ARGV period (ms), how many uses. How many remain, -1 where it was none; and for that, the milliseconds
#: after which there is one again.
USE = script(
    """
local period, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, passed = math.floor(now / period), now % period
local known, current, previous = unpack(redis.call('HMGET', KEYS[1], 'window', 'current', 'previous'))
known, current, previous = tonumber(known or 0), tonumber(current or 0), tonumber(previous or 0)
if known ~= window then
  previous = known == window - 1 and current or 0
  current = 0
end
local before = math.floor(previous * (1 - passed / period))
local remaining = count - before - current - 1
if remaining < 0 then
  local free = before > 0 and math.floor(period * (1 - before / previous)) or period
  return {-1, math.max(1, free + 1 - passed)}
end
redis.call('HSET', KEYS[1], 'window', window, 'current', current + 1, 'previous', previous)
redis.call('PEXPIRE', KEYS[1], 2 * period)
return {remaining, 0}
"""
)


class ClusterCounter:
    """Nobody waits for Redis for more than a second, nor at all while it is known to be away. A node then counts anew
    by itself, so that for as long a user has the rate once on each; afterwards all go on with what Redis knows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._alone: Counter = MemoryCounter()

    async def use(self, key: str, rate: Rate) -> int:
        if not self._node.up:
            return await self._alone.use(key, rate)
        try:
            remaining, wait = await self._node.run(USE, [self._node.keys.rate(key)], [rate.period * 1000, rate.count])
        except RedisAway:
            return await self._alone.use(key, rate)
        if remaining < 0:
            raise RateLimited(retry_after=wait, limit=rate.count)
        return int(remaining)
