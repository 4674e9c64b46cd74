"""What the server knows of one Engine.IO session, whatever namespaces it multiplexes, and of its part in each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from server.errors import ConnectionClosed
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.frames import Packet as Message
from server.realtime.engine.outbox import Outbox
from server.realtime.engine.session import PlainSession, Session
from server.realtime.limits import Window
from server.realtime.packets import Packet
from server.realtime.workers import Inbox

if TYPE_CHECKING:
    from server.realtime.connection import Connection
    from server.realtime.insight.hooks import Insight
    from server.realtime.insight.recorder import Record
    from server.realtime.membership import Membership


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client's first request said. The request itself is dropped: it is half of an idle connection's memory."""

    address: str
    authorization: str | None
    token: str | None


@dataclass(slots=True, eq=False)
class Link:
    """`refusal` says why each CONNECT on it will be refused: there a stock client can read it. `pending` is a packet
    whose attachments are on their way. `windows` are its event budgets, by namespace."""

    session: Session
    handshake: Handshake
    refusal: ConnectionClosed | None = None
    pending: Packet | None = None
    members: dict[str, Member] = field(default_factory=dict)  # by namespace
    left: set[str] = field(default_factory=set)  # namespaces it was in
    windows: dict[str, Window] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)  # by the path of a plain WebSocket
    door: str = ""  # that path's pattern
    ending: str = ""  # why it ends, where that is known before it does
    insight: Insight | None = None
    behind: bool = False  # its reader does not keep up

    @property
    def id(self) -> str:
        return self.session.id

    @property
    def dialect(self) -> Dialect | None:
        """Of a plain WebSocket."""
        return self.session.dialect if isinstance(self.session, PlainSession) else None

    # -- what its outbox tells of a reader that does not keep up ------------------------------------------------

    def on_attached(self) -> None:
        if self.insight is not None:
            self.insight.upgraded(self)

    def on_behind(self, messages: int, size: int) -> None:
        if self.insight is not None and not self.behind:
            self.behind = True
            self.insight.fell_behind(self, messages, size)

    def on_caught_up(self, peak_messages: int, peak_bytes: int) -> None:
        if self.insight is not None and self.behind:
            self.behind = False
            self.insight.caught_up(self, peak_messages, peak_bytes)

    def on_missed(self, packet: Message, how: str) -> None:
        if self.insight is not None:
            self.insight.missed(self, packet, how)

    def on_discarded(self, packets: list[Message], size: int) -> None:
        if self.insight is not None:
            self.insight.overflowed(self, packets, size)


class Recoverable(Protocol):
    """A session that its client can resume. `inbox` is of its last connection, which may still be at work."""

    pid: str
    inbox: Inbox | None


@dataclass(slots=True, eq=False)
class Member:
    """One link in one namespace. Until it is `connected`, no room's messages are sent to it, and what
    is sent to it alone is `held` behind its CONNECT."""

    sid: str
    namespace: str
    link: Link
    connected: bool = False  # it, and the next two, are what a broadcast looks at: close to each other in memory
    outbox: Outbox = field(init=False)
    dialect: Dialect | None = field(init=False)  # of a plain WebSocket
    recoverable: Recoverable | None = None
    rooms: set[str] = field(default_factory=set)
    admitted: bool = False  # it holds a place
    resumed: bool = False  # it was somebody before
    held: list[Message] | None = None
    callbacks: dict[int, Callable[..., Any]] | None = None
    membership: Membership | None = None
    connection: Connection | None = None
    inbox: Inbox | None = None
    record: Record | None = None

    def __post_init__(self) -> None:
        self.outbox = self.link.session.outbox
        self.dialect = self.link.dialect

    def is_in(self, rooms: Collection[str]) -> bool:
        """In one of them; its id is one of its rooms."""
        return self.sid in rooms or not self.rooms.isdisjoint(rooms)
