"""What is done to channels in Redis in one step: numbered, kept, counted. How the numbered travel is `scripts.TELL`'s.

Of each channel there are HASH `channel` (epoch, seq, and of a conflated class a value and whether it is `mixed`) and
LIST `history`; where it is conflated, HASH `values` has the entry of each. Of all of them there are ZSET `channels` by
last use and HASH `sizes` (bytes of history, under '' the sum). ZSET `copies` has the tenants' copies of a shared
channel by last use, and ZSET `followers` the tenants with subscribers of a whole shared class. SET `reach` and a HASH
of each node say how many clients are where. A channel's id is its room, the tenant's prefix and the channel's name.
"""

from __future__ import annotations

from server.realtime.cluster.scripts import TELL, script

#: KEYS[1] is what all keys here begin with. `ask` has the bounds and the class as `ClusterBroker` gives them.
_CHANNELS = """
local base, ask = KEYS[1], cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local milliseconds = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function at(moment) return string.format('%.0f', moment) end

local function reach(room)
  local total = 0
  for _, node in ipairs(redis.call('SMEMBERS', base .. 'reach')) do
    local counts = base .. 'reach:' .. node
    if redis.call('EXISTS', counts) == 0 then redis.call('SREM', base .. 'reach', node) end
    total = total + tonumber(redis.call('HGET', counts, room) or '0')
  end
  return total
end

local function resize(id, bytes)
  redis.call('HINCRBY', base .. 'sizes', id, bytes)
  return redis.call('HINCRBY', base .. 'sizes', '', bytes)
end
local function empty(id)
  resize(id, 0 - tonumber(redis.call('HGET', base .. 'sizes', id) or '0'))
  redis.call('HDEL', base .. 'sizes', id)
  redis.call('DEL', base .. 'history:' .. id, base .. 'values:' .. id)
end
local function forget(id)
  empty(id)
  redis.call('DEL', base .. 'channel:' .. id)
  redis.call('ZREM', base .. 'channels', id)
end
local function evict()
  for _, id in ipairs(redis.call('ZRANGE', base .. 'channels', 0, ask.tries - 1)) do
    if reach(id) == 0 then
      forget(id)
      return true
    end
    redis.call('ZADD', base .. 'channels', at(milliseconds), id)
  end
  return false
end

local function trim(id)
  local history, freed = base .. 'history:' .. id, 0
  local size = tonumber(redis.call('HGET', base .. 'sizes', id) or '0')
  local length = redis.call('LLEN', history)
  while length > 0 do
    local first = redis.call('LINDEX', history, 0)
    local is_old = tonumber(first:match('^%d+')) <= milliseconds - ask.seconds * 1000
    if length <= ask.count and size - freed <= ask.bytes and not is_old then break end
    redis.call('LPOP', history)
    freed, length = freed + #first, length - 1
  end
  if freed > 0 then resize(id, -freed) end
end

local function keep(id)
  redis.call('ZADD', base .. 'channels', at(milliseconds), id)
  for _, key in ipairs({'channel:' .. id, 'history:' .. id, 'values:' .. id, 'channels', 'sizes'}) do
    redis.call('PEXPIRE', base .. key, ask.lifetime)
  end
end

-- The channel is there. False where there are too many.
local function open(id, original)
  local channel = base .. 'channel:' .. id
  if redis.call('EXISTS', channel) == 0 then
    forget(id)
    if redis.call('ZCARD', base .. 'channels') >= ask.most and not evict() then return false end
    local fields = {}
    if original ~= '' then
      fields = redis.call('HGETALL', base .. 'channel:' .. original)
      redis.call('COPY', base .. 'values:' .. original, base .. 'values:' .. id)
      if redis.call('COPY', base .. 'history:' .. original, base .. 'history:' .. id) == 1 then
        resize(id, tonumber(redis.call('HGET', base .. 'sizes', original) or '0'))
      end
    end
    redis.call('HSET', channel, 'seq', '0', unpack(fields))
    redis.call('HSET', channel, 'epoch', ask.epoch)
  end
  if original ~= '' then
    redis.call('ZADD', base .. 'copies:' .. original, at(milliseconds), id)
    redis.call('PEXPIRE', base .. 'copies:' .. original, ask.lifetime)
  end
  keep(id)
  return true
end

-- A tenant, by the prefix of its ids, has subscribers of a whole shared class.
local function follow(prefix)
  redis.call('ZADD', base .. 'followers:' .. ask.followers, at(milliseconds), prefix)
  redis.call('PEXPIRE', base .. 'followers:' .. ask.followers, ask.lifetime)
end

-- {id, name} of the channels of a class that a tenant has, those used last first.
local function of_class(prefix)
  local found, start = {}, prefix .. ask.head
  for _, id in ipairs(redis.call('ZREVRANGE', base .. 'channels', 0, -1)) do
    if id:sub(1, #start) == start and #id > #start then found[#found + 1] = {id, id:sub(#prefix + 1)} end
  end
  return found
end
"""

#: KEYS base. ARGV ask: `id`, `original` (of a tenant's copy, else ''), and what a client saw: `since`, `seen`.
#: {seq, epoch, whether the messages are all since then, messages}; nothing where there are too many channels.
VIEW = script(
    _CHANNELS
    + """
if not open(ask.id, ask.original) then return false end
trim(ask.id)
local history = base .. 'history:' .. ask.id
local seq, epoch, mixed = unpack(redis.call('HMGET', base .. 'channel:' .. ask.id, 'seq', 'epoch', 'mixed'))
local missed = tonumber(seq) - ask.seen
if mixed or epoch ~= ask.since or missed < 0 or missed > redis.call('LLEN', history) then
  return {seq, epoch, 0, redis.call('LRANGE', history, 0, -1)}
end
return {seq, epoch, 1, missed == 0 and {} or redis.call('LRANGE', history, -missed, -1)}
"""
)

#: A tenant follows a shared channel, or a whole class where that is the `name`, as VIEW and NEWEST have it; nothing is
#: looked at. KEYS base. ARGV ask.
FOLLOW = script(
    _CHANNELS
    + """
if ask.name == ask.followers then
  follow(ask.id:sub(1, #ask.id - #ask.name))
else
  open(ask.id, ask.original)
end
"""
)

#: The channels of a class. KEYS base. ARGV ask: `prefix` of the tenant's ids, `head` of the class's names, `followed`
#: at most, and for a tenant of a shared class `original`, the prefix of what its channels are copies of, and
#: `followers`. {name, seq, epoch, the newest message, or the newest of each value} for each: no messages of those
#: beyond so many `bytes`.
NEWEST = script(
    _CHANNELS
    + """
if ask.original ~= '' then
  follow(ask.prefix)
  for i, each in ipairs(of_class(ask.original)) do
    if i <= ask.followed then open(ask.prefix .. each[2], each[1]) end
  end
end
local newest, bytes = {}, ask.bytes
for i, each in ipairs(of_class(ask.prefix)) do
  if i > ask.followed then break end
  trim(each[1])
  local seq, epoch = unpack(redis.call('HMGET', base .. 'channel:' .. each[1], 'seq', 'epoch'))
  if seq then
    local history, first = base .. 'history:' .. each[1], ask.conflated and 0 or -1
    local entries = bytes >= 0 and redis.call('LRANGE', history, first, -1) or {}
    for _, entry in ipairs(entries) do bytes = bytes - #entry end
    newest[#newest + 1] = {each[2], seq, epoch, bytes >= 0 and entries or {}}
  end
end
return newest
"""
)

#: The channels of a tenant by name. KEYS base. ARGV ask: `prefix` of its ids, and either `name`, or `after` and `limit`
#: and which names are visible: `classes` in order, {head, whether more follows, whether they are}, and `own` ones.
#: {name, seq, epoch, subscribers, how many messages are held, the newest of them or ''} for each.
STATES = script(
    _CHANNELS
    + """
local function is_visible(name)
  if ask.own[name] then return true end
  for _, each in ipairs(ask.classes) do
    local head, is_open, seen = each[1], each[2], each[3]
    if is_open and #name > #head and name:sub(1, #head) == head or not is_open and name == head then return seen end
  end
  return false
end
local names = {}
if ask.name then
  names[1] = ask.name
else
  for _, id in ipairs(redis.call('ZRANGE', base .. 'channels', 0, -1)) do
    local name = id:sub(#ask.prefix + 1)
    if id:sub(1, #ask.prefix) == ask.prefix and name > ask.after and is_visible(name) then names[#names + 1] = name end
  end
  table.sort(names)
end
local states = {}
for i = 1, math.min(#names, ask.limit) do
  local id = ask.prefix .. names[i]
  local seq, epoch = unpack(redis.call('HMGET', base .. 'channel:' .. id, 'seq', 'epoch'))
  if seq then
    local history = base .. 'history:' .. id
    local held, newest = redis.call('LLEN', history), redis.call('LINDEX', history, -1) or ''
    states[#states + 1] = {names[i], seq, epoch, reach(id), held, newest}
  end
end
return states
"""
)

#: Numbers a message, in its channel and in tenants' copies of it, keeps it and tells it; once, however often it is
#: sent. KEYS base, count of the origin's, receipt of its key, and the claim of what several nodes heard; base where
#: there is none. ARGV ask, then what goes around seq in JSON: the event's name, payload up to seq, payload from there,
#: and what it is volatile by, or ''.
#: {seq, epoch, subscribers}; what the receipt says; 0: it was numbered before; nothing where there are too many.
PUBLISH = script(
    TELL
    + _CHANNELS
    + """
local wire = ask.wire
local name, head, tail, key = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if ask.number > 0 and ask.number <= tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
if KEYS[4] ~= base and ask.heard <= tonumber(redis.call('GET', KEYS[4]) or '0') then return 0 end
if KEYS[3] ~= base then
  local receipt = redis.call('HMGET', KEYS[3], 'seq', 'epoch', 'subscribers')
  if receipt[1] then return receipt end
end
if not open(ask.id, ask.original) then return false end
if ask.number > 0 then redis.call('SET', KEYS[2], text(ask.number), 'PX', 3600000) end
if KEYS[4] ~= base then redis.call('SET', KEYS[4], text(ask.heard), 'PX', ask.claim) end

local function append(id, rooms, index)
  local channel, history = base .. 'channel:' .. id, base .. 'history:' .. id
  if ask.above > tonumber(redis.call('HGET', channel, 'seq')) then
    redis.call('HSET', channel, 'epoch', ask.epoch, 'seq', text(ask.above + 1))
  end
  local seq = text(redis.call('HINCRBY', channel, 'seq', 1))
  if ask.conflated and redis.call('HSETNX', channel, 'value', ask.value) == 0 then
    if redis.call('HGET', channel, 'value') ~= ask.value then redis.call('HSET', channel, 'mixed', '1') end
  end
  local payload = head .. seq .. tail
  if ask.count > 0 then
    local entry = at(milliseconds) .. ' {"type":' .. name .. ',' .. payload
    if ask.conflated then
      local values = base .. 'values:' .. id
      local older = redis.call('HGET', values, ask.value)
      if older and redis.call('LREM', history, 1, older) == 1 then resize(id, -#older) end
      if redis.call('HLEN', values) >= ask.count then redis.call('DEL', values) end
      redis.call('HSET', values, ask.value, entry)
      redis.call('PEXPIRE', values, ask.lifetime)
    end
    redis.call('RPUSH', history, entry)
    local total = resize(id, #entry)
    trim(id)
    redis.call('PEXPIRE', history, ask.lifetime)
    if total > ask.total then
      for _, each in ipairs(redis.call('ZRANGE', base .. 'channels', 0, -1)) do
        if tonumber(redis.call('HGET', base .. 'sizes', '')) <= ask.total * 0.75 then break end
        empty(each)
      end
    end
  end
  local body = '2' .. ask.path .. ',[' .. name .. ',{' .. payload .. ']'
  local sizes = '[' .. #body .. ']'
  local channels = {}
  for i, room in ipairs(rooms) do channels[i] = wire.channel .. room end
  if key ~= '' then
    tell_volatile(wire, ask.origin, rooms, channels, key, sizes, body)
  else
    local number = ask.number > 0 and ask.number * ask.letters + index or 0
    tell(wire, ask.number > 0 and ask.origin or 'outside', number, rooms, channels, '[]', sizes, body)
  end
  return seq
end

-- Of a copy: its subscribers and those of the whole class, in its tenant.
local function copy_rooms(copy)
  if ask.followers == '' then return {copy} end
  return {copy, copy:sub(1, #copy - #ask.name) .. ask.followers}
end
local function reach_all(rooms)
  local total = 0
  for _, room in ipairs(rooms) do total = total + reach(room) end
  return total
end

if ask.shared and ask.followers ~= '' then
  local followers = base .. 'followers:' .. ask.followers
  for _, prefix in ipairs(redis.call('ZRANGE', followers, 0, -1)) do
    if reach(prefix .. ask.followers) > 0 then
      open(prefix .. ask.name, ask.id)
    elseif tonumber(redis.call('ZSCORE', followers, prefix)) <= milliseconds - ask.idle * 1000 then
      redis.call('ZREM', followers, prefix)
    end
  end
end

local seq = append(ask.id, ask.rooms, 0)
local subscribers = reach_all(ask.reached)
local copies = base .. 'copies:' .. ask.id
for index, copy in ipairs(ask.shared and redis.call('ZRANGE', copies, 0, -1) or {}) do
  local rooms = copy_rooms(copy)
  local count = reach_all(rooms)
  local is_idle = count == 0 and tonumber(redis.call('ZSCORE', copies, copy)) <= milliseconds - ask.idle * 1000
  if is_idle then forget(copy) end
  if redis.call('EXISTS', base .. 'channel:' .. copy) == 0 then
    redis.call('ZREM', copies, copy)
  else
    append(copy, rooms, index)
    subscribers = subscribers + count
  end
end
local epoch = redis.call('HGET', base .. 'channel:' .. ask.id, 'epoch')
if KEYS[3] ~= base then
  redis.call('HSET', KEYS[3], 'seq', seq, 'epoch', epoch, 'subscribers', subscribers)
  redis.call('PEXPIRE', KEYS[3], ask.receipt)
end
return {seq, epoch, subscribers}
"""
)

#: KEYS nodes, what this node counts. ARGV node, milliseconds that it lives without another, 1 if what was known of it
#: is over, then rooms and how many of its clients are in each. Whether nothing was known of the node.
REACH = script(
    """
redis.call('SADD', KEYS[1], ARGV[1])
if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
local new = redis.call('HSETNX', KEYS[2], '', '1')
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return new
"""
)
