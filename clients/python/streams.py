"""An agent's answer while it is being given. Its text, once whole, is a message of the session like any other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Self

from clients.python.errors import ClientError
from clients.python.feed import Feed

MOST_CHUNKS = 10_000
MOST_OPEN = 100  # of a session; the oldest is given up


class Stream:
    """Iterate over it for the text as it comes: pieces without gaps, none twice, also over a reconnect. `text` is all
    that came so far; `end` is the payload of `stream_end`, once it is there."""

    def __init__(self, message_id: str, session_id: str, sender_id: str) -> None:
        self.message_id = message_id
        self.session_id = session_id
        self.sender_id = sender_id
        self.text = ""
        self.end: Mapping[str, Any] | None = None
        self._pieces: Feed[str] = Feed(MOST_CHUNKS)
        self._replayed: str | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    def begin_anew(self) -> None:
        """The server says again what it said so far."""
        self._replayed = ""

    def hear(self, content: str) -> None:
        if self._replayed is None:
            self._add(content)
            return
        self._replayed += content
        if self._replayed.startswith(self.text):
            self._add(self._replayed[len(self.text) :])
            self._replayed = None

    def finish(self, end: Mapping[str, Any]) -> None:
        if self.end is None:
            self.end = end
            whole = str(end.get("content", ""))
            if whole.startswith(self.text):
                self._add(whole[len(self.text) :])
            self._pieces.end()

    def give_up(self, error: ClientError | None) -> None:
        """No more will come; what is whole is in the session's messages."""
        self._pieces.end(error)

    def _add(self, piece: str) -> None:
        if piece:
            self.text += piece
            self._pieces.put(piece)


class Streams:
    """Those of one session, by their message."""

    def __init__(self) -> None:
        self.feed: Feed[Stream] = Feed(MOST_OPEN)
        self._open: OrderedDict[str, Stream] = OrderedDict()

    def hear(self, event: str, payload: Mapping[str, Any]) -> Stream | None:
        """The stream that it belongs to; None where its beginning was missed."""
        message_id = str(payload.get("message_id", ""))
        stream = self._open.get(message_id)
        if event == "stream_start":
            if stream is not None:
                stream.begin_anew()
                return stream
            stream = Stream(message_id, str(payload.get("session_id", "")), str(payload.get("sender_id", "")))
            self._open[message_id] = stream
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].give_up(None)
            self.feed.put(stream)
        elif stream is not None and event == "stream_chunk":
            stream.hear(str(payload.get("content", "")))
        elif stream is not None and event == "stream_end":
            stream.finish(payload)
            del self._open[message_id]
        return stream

    def end(self, error: ClientError | None) -> None:
        for stream in self._open.values():
            stream.give_up(error)
        self._open.clear()
        self.feed.end(error)
