"""What is done in Redis in one step. Each script touches keys of one namespace only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Script:
    """`sha` is what EVALSHA calls it by."""

    text: str
    sha: str


ALL_SCRIPTS: list[Script] = []

MOST_SEARCHED = 1000  # of a room's newest events: what is missing is some seconds old


def script(text: str) -> Script:
    """Loaded on every connection."""
    made = Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    ALL_SCRIPTS.append(made)
    return made


#: Offsets are microseconds of Redis's clock, each above all before it: so a log can be cut by age, and an offset from
#: before Redis lost its memory is never above one from after. What nobody uses for a day is forgotten.
OFFSETS = """
local function text(offset) return string.format('%.0f', offset) end
local function now() local time = redis.call('TIME') return time[1] * 1000000 + time[2] end
local function newest(key) return math.max(tonumber(redis.call('GET', key) or '0'), now() - 1) end
local function remember(key, offset) redis.call('SET', key, offset, 'PX', 86400000) end
local function next_offset(key)
  local offset = newest(key) + 1
  remember(key, text(offset))
  return offset
end
"""

PUBLISH = """
local function publish(channel, home, message)
  if channel:sub(1, 1) == '@' then channel = redis.call('GET', home) or channel:sub(2) end
  if channel ~= '' then redis.call('PUBLISH', channel, message) end
end
"""

#: A room's log gets an event, and is cut where it is too long, too big or too old. A retention is in ms; the bytes are
#: looked at now and then.
KEEP = (
    OFFSETS
    + PUBLISH
    + """
local function keep(log, lost, offset, letter, retention, cap, bytes)
  redis.call('XADD', log, 'MINID', '~', text(offset - retention * 1000), offset .. '-0', 'm', letter)
  redis.call('PEXPIRE', log, retention)
  local length = redis.call('XLEN', log)
  local most = length > cap * 1.1 and cap or length
  if length % 64 == 0 then
    local used = redis.call('MEMORY', 'USAGE', log)
    if used > bytes then most = math.min(most, math.floor(length * bytes / used * 0.8)) end
  end
  if most < length then
    redis.call('XTRIM', log, 'MAXLEN', most)
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    redis.call('SET', lost, first and first[1]:match('^%d+') or offset, 'PX', retention)
  end
end
"""
)

#: Logs an event in its rooms and tells their nodes, once, however often it is sent.
#: KEYS offset, origin, then log, lost and home for each room. ARGV number at its origin, retention (ms), cap, bytes,
#: letter, then a channel for each room: none where nobody else can be in it; '@' and a node's for a connection's room,
#: unless the connection has moved.
EMIT = script(
    KEEP
    + """
if tonumber(ARGV[1]) <= tonumber(redis.call('GET', KEYS[2]) or '0') then return false end
redis.call('SET', KEYS[2], ARGV[1], 'PX', 3600000)
local offset = text(next_offset(KEYS[1]))
for i = 3, #KEYS, 3 do
  keep(KEYS[i], KEYS[i + 1], offset, ARGV[5], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
  publish(ARGV[6 + (i - 3) / 3], KEYS[i + 2], offset .. ' ' .. ARGV[5])
end
return offset
"""
)

#: A volatile event for one connection. KEYS home. ARGV channel as EMIT has it, letter.
TELL_ONE = script(PUBLISH + "publish(ARGV[1], KEYS[1], ARGV[2])")

#: `wire` is what `ClusterFanout.wire` has. A letter's `number` at its `origin`: 0, with the origin `outside`, for one
#: whose sender does not send it anew. Rooms and channels as EMIT has them; `skip`, `key` and `sizes` are JSON.
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
local function tell_volatile(wire, origin, rooms, channels, key, sizes, body)
  local number = #rooms > 1 and text(next_offset(wire.offset)) or 0
  local letter = '0 ' .. encoded(wire, origin, number, rooms, '[]', key, sizes, body)
  for i, room in ipairs(rooms) do publish(channels[i], wire.home .. room, letter) end
end
"""
)

#: An event that should have been said by now: it is said if none of the room's newest that begin so was.
#: KEYS offset, log. ARGV ask, body.
EMIT_MISSING = script(
    TELL
    + f"""
local ask = cjson.decode(ARGV[1])
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', {MOST_SEARCHED})) do
  if entry[2][2]:find(ask.opening, 1, true) then return 0 end
end
tell(ask.wire, 'outside', 0, ask.rooms, ask.channels, '[]', ask.sizes, ARGV[2])
return 1
"""
)

#: A node's pulse in one namespace: what it is told on its channel after this is newer than the offset. Nothing where
#: Redis has lost what it knew. KEYS offset, epoch. ARGV channel, namespace.
PULSE = script(
    OFFSETS
    + """
local offset = text(newest(KEYS[1]))
local epoch = redis.call('GET', KEYS[2])
if not epoch then return false end
redis.call('PEXPIRE', KEYS[2], 86400000)
remember(KEYS[1], offset)
redis.call('PUBLISH', ARGV[1], 'pulse ' .. offset .. ' ' .. ARGV[2])
return epoch
"""
)

#: A node comes (back): the epoch, and the newest offset. An epoch ends when Redis knows less than the node does, and
#: with each run of the server, which may have begun with what an earlier one had saved.
#: KEYS offset, epoch, gap. ARGV the node's newest offset, an epoch to begin with, and whether it gave up events.
HELLO = script(
    OFFSETS
    + """
local known = tonumber(ARGV[1])
local run = redis.call('INFO', 'server'):match('run_id:(%x+)') or ''
local epoch = redis.call('GET', KEYS[2])
if not epoch or epoch:match(':(%x*)$') ~= run or tonumber(redis.call('GET', KEYS[1]) or '0') < known then
  epoch = ARGV[2] .. ':' .. run
  redis.call('SET', KEYS[2], epoch, 'PX', 86400000)
  remember(KEYS[1], text(math.max(known, newest(KEYS[1]))))
end
local offset = text(newest(KEYS[1]))
remember(KEYS[1], offset)
if ARGV[3] == '1' then redis.call('SET', KEYS[3], offset, 'PX', 86400000) end
return {epoch, offset}
"""
)

#: KEYS offset. The newest offset: all that is logged later has a higher one.
NEWEST = script(
    OFFSETS
    + """
local offset = text(newest(KEYS[1]))
remember(KEYS[1], offset)
return offset
"""
)

#: A session: written whole where fields are given, else only if it is there. Rooms that it is in already keep the
#: offset at which it entered them; written whole, it is in no others.
#: KEYS offset, session, home. ARGV holder, lifetime (ms), count of fields, fields and values, rooms. -1 where somebody
#: else has it.
SESSION_WRITE = script(
    OFFSETS
    + """
local fields = tonumber(ARGV[3])
local known = redis.call('HGETALL', KEYS[2])
if fields == 0 and #known == 0 then return false end
local holder = redis.call('HGET', KEYS[2], 'holder')
if holder and holder ~= '' and holder ~= ARGV[1] then return -1 end
local offset = text(newest(KEYS[1]))
remember(KEYS[1], offset)
for i = 4, 2 + 2 * fields, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSETNX', KEYS[2], 'start', offset)
local wanted = {}
for i = 4 + 2 * fields, #ARGV do
  wanted['in:' .. ARGV[i]] = true
  redis.call('HSETNX', KEYS[2], 'in:' .. ARGV[i], offset)
end
if fields > 0 then
  for i = 1, #known, 2 do
    if known[i]:sub(1, 3) == 'in:' and not wanted[known[i]] then redis.call('HDEL', KEYS[2], known[i]) end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return offset
"""
)

#: Its client is still there. KEYS session, home. ARGV holder, lifetime (ms). 1; 0 where Redis knows nothing of it, and
#: -1 where somebody else has it.
SESSION_KEEP = script(
    """
local holder = redis.call('HGET', KEYS[1], 'holder')
if not holder then return 0 end
if holder ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
)

#: Its client is gone and may come back, or nobody may resume it any more. KEYS session. ARGV holder, lifetime (ms; 0:
#: it ends), data.
SESSION_DROP = script(
    """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'holder', '', 'data', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)

#: Takes a session whose client is gone, or that is held by whom it may be taken from. KEYS session, home. ARGV holder,
#: home's channel, who may, lifetime (ms), from whom it may be taken, and whether who comes has no name.
#: Its fields; {'held', holder} while somebody else holds it; nothing where there is none for this user.
SESSION_CLAIM = script(
    """
local scope, holder, anonymous = unpack(redis.call('HMGET', KEYS[1], 'scope', 'holder', 'anonymous'))
if not scope or (scope ~= ARGV[3] and not (anonymous == '1' and ARGV[6] == '1')) then return false end
if holder ~= '' and holder ~= ARGV[5] then return {'held', holder} end
redis.call('HSET', KEYS[1], 'holder', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
return redis.call('HGETALL', KEYS[1])
"""
)

#: A node lives, and hears that it does. KEYS nodes. ARGV node, seconds after which one that does not say so is dead,
#: the node's channel. Whether it was not known, and those that are dead.
BEAT = script(
    """
local now = tonumber(redis.call('TIME')[1])
local new = redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PUBLISH', ARGV[3], 'beat')
return {new, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])}
"""
)
