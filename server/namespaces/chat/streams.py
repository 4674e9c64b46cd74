"""One answer on its way to those who hear it: a session's room, whoever is about to enter that, and who asked by HTTP.

It rests on an emit waiting for nothing, and a node's events arriving in its order (`Fanout.deliver`): what a newcomer
missed goes between two events of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from server.namespaces.chat.typists import Later, Timer, on_loop
from server.realtime.delivery import Delivery

MAX_REPLAYED = 400  # chunks, at once: a slow reader's outbox has room for more
MAX_NEWCOMERS = 100  # of a session
ENTERING_SECONDS = 15.0  # longer than an event may take: for one whose end was not told

#: Is told every stream event of one answer, as the room is; the last one is `stream_end`. It does not raise.
Listener = Callable[[str, Mapping[str, object]], None]


class Newcomers:
    """Connections that are entering sessions: until they are in the room they hear streams under their own id."""

    def __init__(self, later: Later = on_loop) -> None:
        self._later = later
        self._timers: dict[str, dict[str, Timer]] = {}  # by session and connection

    def __len__(self) -> int:
        return sum(map(len, self._timers.values()))

    def of(self, session_id: str) -> Collection[str]:
        return self._timers.get(session_id, ())

    def add(self, session_id: str, connection_id: str) -> None:
        """Beyond the bound the first is most likely in the room by now."""
        self.remove(session_id, connection_id)
        timers = self._timers.get(session_id, {})
        if len(timers) >= MAX_NEWCOMERS:
            self.remove(session_id, next(iter(timers)))
        timer = self._later(ENTERING_SECONDS, lambda: self.remove(session_id, connection_id))
        self._timers.setdefault(session_id, {})[connection_id] = timer

    def remove(self, session_id: str, connection_id: str) -> None:
        timers = self._timers.get(session_id, {})
        timer = timers.pop(connection_id, None)
        if timer is not None:
            timer.cancel()
            if not timers:
                del self._timers[session_id]


class Stream:
    """`stream_start`, chunks with indexes from 0, `stream_end`: each but the chunks once."""

    def __init__(
        self,
        delivery: Delivery,
        newcomers: Newcomers,
        *,
        message_id: str,
        session_id: str,
        sender_id: str,
        room: str,
        listener: Listener | None = None,
    ) -> None:
        self.message_id = message_id
        self._delivery = delivery
        self._newcomers = newcomers
        self._session_id = session_id
        self._sender = {"sender_type": "agent", "sender_id": sender_id}
        self._room = room
        self._listener = listener
        self._chunks: list[str] = []
        self._started = False
        self._ended = False

    @property
    def text(self) -> str:
        """What was sent."""
        return "".join(self._chunks)

    async def start(self) -> None:
        self._started = True
        await self._tell("stream_start", self._sender)

    async def send(self, chunk: str) -> None:
        self._chunks.append(chunk)
        await self._tell("stream_chunk", {"content": chunk, "index": len(self._chunks) - 1})

    async def end(self, outcome: Mapping[str, object]) -> None:
        """With all of the text, for who takes no chunks. Of one that did not start, only the listener hears."""
        if not self._ended:
            self._ended = True
            await self._tell("stream_end", {"content": self.text, **outcome})

    async def replay(self, connection_id: str) -> None:
        """The text so far, for one who enters the session; where it is long, its beginning is one chunk that has the
        index of the last one in it. A `stream_start` begins a message anew for whoever had some of it before."""
        if not self._started or self._ended:
            return
        await self._emit("stream_start", self._sender, connection_id)
        first = max(0, len(self._chunks) - MAX_REPLAYED)
        contents = ["".join(self._chunks[: first + 1]), *self._chunks[first + 1 :]]
        for index, content in enumerate(contents if self._chunks else (), start=first):
            await self._emit("stream_chunk", {"content": content, "index": index}, connection_id)

    async def _tell(self, event: str, fields: Mapping[str, object]) -> None:
        if self._started:
            entering = self._newcomers.of(self._session_id)
            await self._emit(event, fields, [self._room, *entering] if entering else self._room)
        if self._listener is not None:
            self._listener(event, self._payload(fields))

    async def _emit(self, event: str, fields: Mapping[str, object], room: str | Collection[str]) -> None:
        await self._delivery.emit(event, self._payload(fields), room=room)

    def _payload(self, fields: Mapping[str, object]) -> dict[str, object]:
        return {"message_id": self.message_id, "session_id": self._session_id, **fields}
