"""What programs outside put into Redis for clients here: each node hears all of it, and one of them acts.

They are the stock `socketio.RedisManager(url, write_only=True)`, for every namespace, and whoever publishes on
`{prefix}:{name}`, of which it knows only whom to give it to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiohttp import web
from marshmallow import ValidationError, fields, validate
from socketio import packet as wire

from server.errors import AtriumError
from server.realtime import rooms
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.complaints import Complaints
from server.realtime.cluster.manager import SID, ClusterFanout
from server.realtime.cluster.node import ID_CHARS
from server.realtime.cluster.scripts import TELL, script
from server.realtime.packets import Packet, encode
from server.realtime.schema import Payload

complaints = Complaints(structlog.get_logger(__name__))

STOCK_CHANNEL = "socketio"
MAX_BYTES = 1024 * 1024
MAX_ROOMS = 1000
MAX_SIGHTINGS = 10_000
#: One node may hear this much later than another. What is published again after that is a new message to Redis, and
#: to a node when it has heard nothing of it for twice as long.
CLAIM_SECONDS = 10
_INTERNAL = re.compile(r"[a-z]+:[0-9]+:.*", re.DOTALL)
_KINDS = {"/chat": "session", "/trading": "channel"}  # of rooms that outsiders name

#: An event of theirs, for the node that asks first. KEYS offset, claim. ARGV ask, body.
EMIT_SEEN = script(
    TELL
    + """
local ask = cjson.decode(ARGV[1])
if ask.heard <= tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
redis.call('SET', KEYS[2], text(ask.heard), 'PX', ask.claim)
tell(ask.wire, 'outside', 0, ask.rooms, ask.channels, ask.skip, ask.sizes, ARGV[2])
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """The how-manieth time of late that the same was heard. Nodes hear the same as often, so who comes first with a
    higher count than Redis knows of may act. Only while nodes come and go may they disagree."""

    digest: str
    count: int


class Sightings:
    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the last seen is last

    def add(self, channel: str, message: bytes) -> Sighting:
        now = self._clock()
        digest = hashlib.sha256(channel.encode() + b"\n" + message).hexdigest()
        count, at = self._seen.pop(digest, (0, now))
        count = count + 1 if now - at <= 2 * CLAIM_SECONDS else 1
        self._seen[digest] = (count, now)
        if len(self._seen) > MAX_SIGHTINGS:
            self._seen.popitem(last=False)
        return Sighting(digest, count)


Publish = Callable[[str, bytes, Sighting], Awaitable[None]]  # channel, message; raises what is logged


class _Names(fields.Field[Any]):
    """One or many, as python-socketio has rooms and sids."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> list[str]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or len(names) > MAX_ROOMS or not all(isinstance(each, str) for each in names):
            raise ValidationError("Must be a name, or a list of names.")
        return [each for each in names if each]


def _namespace() -> fields.String:
    return fields.String(load_default="/", validate=validate.Regexp(r"/[^,?]{0,200}\Z"))


class _Emit(Payload):
    event = fields.String(required=True)
    data = fields.List(fields.Raw(allow_none=True), required=True)
    binary = fields.Boolean(load_default=False)
    namespace = _namespace()
    room = _Names(allow_none=True, load_default=None)
    skip_sid = _Names(allow_none=True, load_default=None)


class _Move(Payload):
    sid = fields.String(load_default="")
    room = fields.String(load_default="")
    namespace = _namespace()


class Outside:
    def __init__(
        self,
        manager: ClusterFanout,
        publish: Publish,
        *,
        audience: Callable[[str], Collection[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`publish` what is for the channel of a name; `audience`: the rooms that it reaches, if more than its own."""
        self._audience = audience
        self._manager = manager
        self._node = manager.node
        self._publish = publish
        self._sightings = Sightings(clock=clock)

    async def start(self, _: web.Application | None = None) -> None:
        """The node has started."""
        self._manager.outside = self._hear
        self._node.listener.subscribe(STOCK_CHANNEL)

    def _hear(self, channel: str, message: bytes) -> None:
        """What it spawns asks Redis at once, so in the order in which it was heard."""
        if len(message) > MAX_BYTES:
            complaints.say("a message from outside is too big", channel=channel, bytes=len(message))
            return
        sighting = self._sightings.add(channel, message)
        name = channel.removeprefix(f"{self._node.keys.prefix}:")
        is_stock = channel == STOCK_CHANNEL
        work = self._stock(message, sighting) if is_stock else self._publish(name, message, sighting)
        self._node.spawn(_logged(work, channel), "outside")

    async def _stock(self, message: bytes, sighting: Sighting) -> None:
        told = orjson.loads(message)
        if not isinstance(told, dict):
            raise TypeError("no object")
        told = {name: value for name, value in told.items() if value is not None}
        method = told.get("method")
        if method == "emit":
            await self._emit(_Emit(unknown="exclude").load(told), sighting)
        elif method in ("disconnect", "enter_room", "leave_room", "close_room"):
            await self._move(method, **_Move(unknown="exclude").load(told))

    async def _emit(self, told: Mapping[str, Any], sighting: Sighting) -> None:
        namespace, data = told["namespace"], told["data"]
        if told["binary"]:
            attachments = [base64.b64decode(each, validate=True) for each in data[1:]]
            data = Packet.reconstruct_binary(data[0], attachments)
        arguments = [told["event"], *([] if data == [None] else data)]
        parts = [each.encode() if isinstance(each, str) else each for each in encode(wire.EVENT, namespace, arguments)]
        named = dict.fromkeys(room for each in told["room"] or [] for room in self._rooms(namespace, each))
        names = list(named) or [rooms.ALL]
        ask = {
            "wire": self._manager.wire(namespace),
            "heard": sighting.count,
            "claim": CLAIM_SECONDS * 1000,
            "rooms": names,
            "channels": [self._channel(namespace, each) for each in names],
            "skip": orjson.dumps(told["skip_sid"] or []).decode(),
            "sizes": orjson.dumps([len(each) for each in parts]).decode(),
        }
        keys = [self._node.keys.offset(namespace), self._node.keys.key(namespace, "claim", sighting.digest)]
        await self._node.run(EMIT_SEEN, keys, [orjson.dumps(ask), b"".join(parts)])

    def _rooms(self, namespace: str, name: str) -> Collection[str]:
        room = room_of(namespace, name)
        is_channel = _KINDS.get(namespace) == "channel" and room == rooms.room_name(None, "channel", name)
        return (room,) if self._audience is None or not is_channel else self._audience(name)

    def _channel(self, namespace: str, room: str) -> str:
        """Also of connections here: all of it comes by way of Redis."""
        keys = self._node.keys
        return f"@{keys.node(room[:ID_CHARS])}" if SID.fullmatch(room) else keys.channel(namespace, room)

    async def _move(self, method: str, sid: str, room: str, namespace: str) -> None:
        """On the node that has the connection; rooms close on all."""
        manager, room = self._manager, room_of(namespace, room)
        member = manager.member(sid, namespace)
        if method == "close_room":
            await manager.close_room(room, namespace)
        elif member is None:
            return
        elif method == "disconnect":
            await manager.server.disconnect(sid, namespace=namespace)
        elif method == "leave_room":
            manager.leave(member, room)
        elif len(member.rooms) < manager.server.bounds.rooms_per_connection:
            manager.enter(member, room)


def room_of(namespace: str, name: str) -> str:
    """The room that outsiders mean by a name; they are of no tenant."""
    if SID.fullmatch(name) or _INTERNAL.fullmatch(name) or name == rooms.EVERYONE:
        return name
    head, _, user = name.partition(":")
    if head == "user" and user:
        return rooms.user_room(None, user)
    kind = _KINDS.get(namespace)
    return name if kind is None else rooms.room_name(None, kind, name)


async def _logged(work: Awaitable[None], channel: str) -> None:
    """Nobody waits for an answer."""
    try:
        await work
    except RedisAway as away:  # another node may have acted; and what was sent may be done yet
        complaints.say("redis did not answer for a message from outside", channel=channel, reason=str(away))
    except (AtriumError, ValidationError, ValueError, TypeError, LookupError, binascii.Error) as error:
        complaints.say("a message from outside is no use", channel=channel, reason=str(error)[:200])
