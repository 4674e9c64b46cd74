"""Sessions that can be resumed, as Redis has them: written when they begin and kept fresh, they outlive a node."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.identity import Identity
from server.realtime.cluster import scripts
from server.realtime.cluster.node import Node
from server.realtime.cluster.wire import Arg
from server.realtime.link import Member

MAX_PID_CHARS = 64


@dataclass(frozen=True, slots=True)
class Held:
    """By whom: a node and its link."""

    holder: str

    @property
    def node(self) -> str:
        return self.holder.partition(":")[0]

    @property
    def link(self) -> str:
        return self.holder.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Found:
    """`rooms` with the offset at which it entered each; `data` is what python-socketio's `session()` kept. `before`: it
    had everything up to this offset when Redis lost what it knew."""

    sid: str
    start: int
    rooms: Mapping[str, int]
    data: Any
    before: int


class Sessions:
    def __init__(self, node: Node, *, seconds: float, unnoticed: float) -> None:
        """`seconds` that a session waits for its client; `unnoticed` is how long a drop may go unnoticed."""
        self._node = node
        self._waits = int(seconds * 1000)
        self.lifetime = 2 * (seconds + unnoticed)  # of one that is held; kept fresh more often than that

    def new_pid(self) -> str:
        return secrets.token_urlsafe(18)

    def holder(self, member: Member) -> str:
        return f"{self._node.id}:{member.link.id}"

    def write(self, member: Member, pid: str, identity: Identity, rooms: Collection[str], before: int) -> Any:
        fields: dict[str, Arg] = {
            "sid": member.sid,
            "scope": _scope(identity),
            "anonymous": int(identity.anonymous),
            "holder": self.holder(member),
            "before": before,
        }
        flat = [part for field in fields.items() for part in field]
        arguments: list[Arg] = [self.holder(member), int(self.lifetime * 1000), len(fields), *flat, *rooms]
        return self._node.commands.run(scripts.SESSION_WRITE, self._three(member, pid), arguments)

    def enter(self, member: Member, pid: str, room: str) -> Any:
        arguments: list[Arg] = [self.holder(member), int(self.lifetime * 1000), 0, room]
        return self._node.commands.run(scripts.SESSION_WRITE, self._three(member, pid), arguments)

    def leave(self, member: Member, pid: str, room: str) -> Any:
        return self._node.commands.call("HDEL", self._key(member, pid), f"in:{room}")

    def keep(self, member: Member, pid: str) -> Any:
        """1; 0 where Redis knows nothing of it; -1 where somebody else has it."""
        keys = [self._key(member, pid), self._node.keys.home(member.namespace, member.sid)]
        return self._node.commands.run(scripts.SESSION_KEEP, keys, [self.holder(member), int(self.lifetime * 1000)])

    def drop(self, member: Member, pid: str, data: object, *, resumable: bool) -> Any:
        arguments: list[Arg] = [self.holder(member), self._waits if resumable else 0, _dump(data)]
        return self._node.commands.run(scripts.SESSION_DROP, [self._key(member, pid)], arguments)

    async def take(self, member: Member, pid: object, identity: Identity, taken_from: str = "") -> Found | Held | None:
        """Makes it the member's. None where there is none for this user. Raises RedisAway."""
        if not isinstance(pid, str) or not 0 < len(pid) <= MAX_PID_CHARS:
            return None
        key = self._key(member, pid)
        sid = await self._node.call("HGET", key, "sid")
        if sid is None:
            return None
        arguments: list[Arg] = [
            self.holder(member),
            self._node.channel,
            _scope(identity),
            int(self.lifetime * 1000),
            taken_from or "-",
            int(identity.anonymous),
        ]
        home = self._node.keys.home(member.namespace, sid.decode())
        answer = await self._node.run(scripts.SESSION_CLAIM, [key, home], arguments)
        if answer is None:
            return None
        if answer[0] == b"held":
            return Held(answer[1].decode())
        fields = {name.decode(): value for name, value in zip(answer[::2], answer[1::2], strict=True)}
        rooms = {name[3:]: int(value) for name, value in fields.items() if name.startswith("in:")}
        return Found(
            fields["sid"].decode(), int(fields["start"]), rooms, _load(fields.get("data", b"")), int(fields["before"])
        )

    def _key(self, member: Member, pid: str) -> str:
        return self._node.keys.session(member.namespace, pid)

    def _three(self, member: Member, pid: str) -> list[str]:
        keys = self._node.keys
        return [keys.offset(member.namespace), self._key(member, pid), keys.home(member.namespace, member.sid)]


def _scope(identity: Identity) -> bytes:
    return orjson.dumps(identity.scope)


def _dump(data: object) -> bytes:
    """What is not JSON cannot travel."""
    try:
        return b"" if data is None else orjson.dumps(data)
    except TypeError:
        return b""


def _load(data: bytes) -> Any:
    return orjson.loads(data) if data else None
