"""A channel of `/trading`, or all of a class by a pattern: its messages as they come, none missed unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self
from weakref import WeakKeyDictionary

from clients.python.connection import Connection
from clients.python.errors import ClientError, Lost
from clients.python.feed import Feed
from clients.python.keeper import AGAIN_SECONDS, Keeper
from clients.python.track import Track, Update

__all__ = ["Channel", "Update"]

MOST_UNREAD = 10_000  # beyond, the oldest are dropped, and counted
MOST_CHANNELS = 10_000  # of a pattern
WILDCARD = "*"

#: How many listen to each channel: the server knows of one subscription of a connection to it.
_listening: WeakKeyDictionary[Connection, Counter[str]] = WeakKeyDictionary()


class Channel:
    """Iterate over it for its updates; `snapshot` is what the server remembered when it was opened. After a drop comes
    what was missed, or, where the server has not all of it any more, what it has: `missed` counts the others. The
    iteration raises when the connection has been given up, and ends when the channel is closed."""

    def __init__(self, name: str, connection: Connection, since: tuple[str, int] | None = None) -> None:
        """`since`: epoch and seq of the last update seen before; what was missed is iterated over."""
        self.name = name
        self.snapshot: tuple[Update, ...] = ()
        self.recovered: bool | None = None
        self._resumes = since is not None
        self._connection = connection
        self._feed: Feed[Update] = Feed(MOST_UNREAD)
        self._tracks: dict[str, Track] = {}
        if since is not None:
            self._tracks[name] = Track(*since)
        self._keeper = Keeper(f"channel {name}", self._step, self._end)
        self._listens = True
        _listening.setdefault(connection, Counter())[name] += 1
        self._stops = [connection.on_state(self._state_changed), connection.on("*", self._event)]
        self.closed = False

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def seq(self) -> int | None:
        """Of the last update handed out; None for a pattern, whose channels have one each."""
        track = self._tracks.get(self.name)
        return None if track is None else track.seq

    @property
    def epoch(self) -> str | None:
        track = self._tracks.get(self.name)
        return None if track is None else track.epoch

    @property
    def missed(self) -> int:
        """Updates that the server had no more. A channel that conflates counts none: see `conflated`."""
        return sum(track.missed for track in self._tracks.values())

    @property
    def conflated(self) -> int:
        """Older updates of a key that the server spared this reader."""
        return sum(track.conflated for track in self._tracks.values())

    @property
    def dropped(self) -> int:
        """Updates that came, and that nobody read in time."""
        return self._feed.dropped

    # -- reading ---------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        return await anext(self._feed)

    async def open(self) -> None:
        """Raises what the server says against it."""
        await self._keeper.open()

    async def close(self) -> None:
        """Unsubscribes, where it is the last of that name."""
        if self.closed:
            return
        self.closed = True
        await self._keeper.close()
        for stop in self._stops:
            stop()
        self._end(None)
        if not _listening[self._connection][self.name]:
            await self._connection.emit("unsubscribe", {"channel": self.name})

    async def presence(self) -> Mapping[str, Any]:
        """Who else is subscribed, on all nodes: `{users, count}`."""
        return await self._connection.call("presence", {"channel": self.name})

    async def say(self, message: str) -> Mapping[str, Any]:
        """A `chat_message`, where the channel's class allows it."""
        return await self._connection.call("chat_message", {"channel": self.name, "message": message})

    # -- keeping it whole ------------------------------------------------------------------------------------------

    async def _step(self) -> float | None:
        if self._connection.state in ("failed", "closed"):
            self._end(self._connection.why)
        elif self._connection.state == "connected" and (self._keeper.is_stale or self._gap):
            self._keeper.is_stale = False
            await self._catch_up()
            self._keeper.opened()
            return AGAIN_SECONDS if self._gap else None
        return None

    @property
    def _gap(self) -> bool:
        return self.name in self._tracks and self._tracks[self.name].gap

    async def _catch_up(self) -> None:
        for each in self._tracks.values():
            each.pause()
        track = self._tracks.get(self.name)
        wanted: dict[str, object] = {"channel": self.name}
        if track is not None and track.epoch is not None and track.seq is not None:
            wanted["since"] = {"epoch": track.epoch, "seq": track.seq}
        ack = await self._connection.call("subscribe", wanted)
        self.recovered = ack.get("recovered")
        updates = [Update.from_wire(each) for each in ack.get("messages") or ack.get("snapshot") or ()]
        if not self._keeper.is_open and not self._resumes:
            self.snapshot, updates = tuple(updates), []
        for name, place in self._places(ack).items():
            track = self._tracks.setdefault(name, Track(conflates=self._is_pattern))
            of_channel = [each for each in updates if each.channel == name]
            recovered = bool(self.recovered)
            self._hand_out(track.caught_up(str(place["epoch"]), int(place["seq"]), of_channel, recovered=recovered))

    def _places(self, ack: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """By channel: one, or those of a pattern that there are. The others of a pattern begin with their first."""
        if ack.get("seq") is not None:
            return {self.name: {"epoch": ack["epoch"], "seq": ack["seq"]}}
        places: dict[str, Mapping[str, Any]] = dict(ack.get("channels") or {})
        for name, track in self._tracks.items():
            if name not in places:
                places[name] = {"epoch": track.epoch or "", "seq": 0}
        return places

    # -- what arrives ----------------------------------------------------------------------------------------------

    def _state_changed(self) -> None:
        self._keeper.wake(stale=self._connection.state == "connected")

    def _event(self, arrived: Any) -> None:
        event, payload = arrived
        match payload:
            case {"channel": str() as name, "seq": int()} if self._covers(name):
                pass
            case {"channel": str() as name} if event == "unsubscribed" and name == self.name:
                self._end(Lost("UNSUBSCRIBED", f"the server ended the subscription to {name}"))
                return
            case _:
                return
        track = self._tracks.get(name)
        if track is None:
            if len(self._tracks) >= MOST_CHANNELS:
                return
            track = self._tracks[name] = Track(conflates=self._is_pattern)
            if self._keeper.is_open and not self._keeper.is_stale and self._is_pattern:
                track.caught_up("", payload["seq"] - 1, (), recovered=True)
        self._hand_out(track.hear(Update.from_wire(payload, event)))
        if track.gap:
            self._keeper.wake()

    @property
    def _is_pattern(self) -> bool:
        return self.name.endswith(WILDCARD)

    def _covers(self, name: str) -> bool:
        return name == self.name or (self._is_pattern and name.startswith(self.name[:-1]))

    def _hand_out(self, updates: list[Update]) -> None:
        for update in updates:
            self._feed.put(update)

    def _end(self, error: ClientError | None) -> None:
        self._feed.end(error)
        self._keeper.ended(error)
        if self._listens:
            self._listens = False
            _listening[self._connection] -= Counter((self.name,))  # and without those at zero
