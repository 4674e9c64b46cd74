"""A chat session: what is said in it, in its order and without gaps, whichever way it comes; and saying something."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp

from clients.python.connection import Connection, Handler, State
from clients.python.errors import ClientError, Refused
from clients.python.fallback import Fallback
from clients.python.feed import Feed
from clients.python.http_api import HttpApi, session_path
from clients.python.keeper import AGAIN_SECONDS, Keeper
from clients.python.messages import Message, Sent
from clients.python.sender import Sender
from clients.python.sequence import Sequence
from clients.python.streams import Streams

log = logging.getLogger(__name__)

MOST_UNREAD = 1000  # messages that wait for who iterates; more are fetched when there is room
PAGE = 200
POLL_SECONDS = 2.0  # by HTTP
SEND_SECONDS = 60.0
UPLOAD_SECONDS = 600.0

#: What a session tells beside its messages; each payload has its `session_id`.
EVENTS = ("typing", "read", "system", "message_edited", "message_deleted", "stream_start", "stream_chunk", "stream_end")


class ChatSession:
    """Iterate over it for its messages, one's own among them: after `history`, which is what was there at the start.
    The iteration raises when the connection has been given up, and ends when the session is closed."""

    def __init__(
        self,
        session_id: str,
        connection: Connection,
        fallback: Fallback,
        api: HttpApi,
        sender: Sender,
        *,
        after_seq: int | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`after_seq`: the last message known before; what follows is iterated over instead of being `history`."""
        self.id = session_id
        self.info: Mapping[str, Any] = {}
        self.history: tuple[Message, ...] = ()
        self._connection = connection
        self._fallback = fallback
        self._api = api
        self._sender = sender
        self._poll_seconds = poll_seconds
        self._sequence: Sequence[Message] = Sequence(after_seq)
        self._feed: Feed[Message] = Feed(MOST_UNREAD, on_room=self._has_room)
        self._streams = Streams()
        self._handlers: dict[str, list[Handler]] = {}
        self._path = session_path(session_id)
        self._keeper = Keeper(f"session {session_id}", self._step, self._end)
        self._stops = [
            connection.on_state(self._state_changed),
            fallback.on_change(self._state_changed),
            connection.on("message", self._message),
            *(connection.on(event, self._listener(event)) for event in EVENTS),
        ]
        self.closed = False

    @property
    def state(self) -> State | Literal["fallback"]:
        return "fallback" if self._fallback.active else self._connection.state

    @property
    def last_seq(self) -> int:
        """The last message that was handed out or waits to be."""
        return self._sequence.cursor or 0

    # -- reading ---------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await anext(self._feed)

    def streams(self) -> Feed[Any]:
        """The agent's answers, each a `Stream`, as they begin."""
        return self._streams.feed

    def on(self, event: str, handler: Handler) -> Callable[[], None]:
        """Calls it with the payload of each such event of this session: one of EVENTS, or `message` for each message in
        its order. Returns the way to stop."""
        handlers = self._handlers.setdefault(event, [])
        handlers.append(handler)
        return lambda: handlers.remove(handler) if handler in handlers else None

    async def older(self, before_seq: int | None = None, limit: int = 50) -> list[Message]:
        """Messages before that one, by default before the first of `history`; the oldest first."""
        before = before_seq if before_seq is not None else (self.history[0].seq if self.history else None)
        query = {"limit": limit} if before is None else {"limit": limit, "before": before}
        page = await self._api.request("GET", f"{self._path}/messages", query=query)
        return [Message.from_wire(each) for each in page["messages"]]

    async def search(self, query: str, limit: int = 20) -> list[Mapping[str, Any]]:
        """Hits as the server ranks them."""
        asked = {"query": query, "session_id": self.id, "limit": limit}
        return list((await self._api.request("GET", "/api/chat/search", query=asked))["hits"])

    # -- saying ----------------------------------------------------------------------------------------------------

    async def send(
        self,
        content: str,
        *,
        metadata: Mapping[str, object] | None = None,
        client_message_id: str | None = None,
        timeout: float = SEND_SECONDS,
    ) -> Sent:
        """Returns once it is stored. Raises Refused where it never will be; TimedOut where it is not yet: it is sent on
        until it is acked, and by the next process where the client has a file for it. The same `client_message_id`
        again is the same message."""
        payload: dict[str, Any] = {"content": content}
        if metadata is not None:
            payload["metadata"] = dict(metadata)
        return await self._sender.send(self.id, client_message_id or uuid.uuid4().hex, payload, timeout)

    async def upload(self, file: Path | bytes, *, name: str = "", message: str = "") -> Mapping[str, Any]:
        """Sends a file by HTTP and says it in the session: `{file_id, file_url, message_id, …}`. Not sent again by
        itself: whether an upload that broke off was the last piece, nobody knows."""
        content = file if isinstance(file, bytes) else await asyncio.to_thread(file.read_bytes)
        form = aiohttp.FormData()
        if message:
            form.add_field("message", message)
        form.add_field("file", content, filename=name or (file.name if isinstance(file, Path) else "file"))
        return await self._api.request("POST", f"{self._path}/files", form=form, timeout=UPLOAD_SECONDS)

    async def typing(self, is_typing: bool = True) -> None:
        """The server ends it by itself after five seconds. By HTTP there is none."""
        await self._connection.emit("typing", {"session_id": self.id, "is_typing": is_typing})

    async def read(self, seq: int | None = None) -> Mapping[str, Any]:
        """One has read all up to there, by default up to the newest: `{last_read_seq, unread_count}`."""
        body = {"seq": self.last_seq if seq is None else seq}
        return await self._ask("read", body, "POST", f"{self._path}/read", body)

    async def edit(self, message_id: str, content: str) -> Mapping[str, Any]:
        body = {"content": content}
        return await self._ask(
            "edit", {"message_id": message_id, **body}, "PATCH", f"{self._path}/messages/{message_id}", body
        )

    async def delete(self, message_id: str) -> Mapping[str, Any]:
        return await self._ask("delete", {"message_id": message_id}, "DELETE", f"{self._path}/messages/{message_id}")

    async def cancel_stream(self, message_id: str) -> None:
        """Stops the agent. What it said so far is stored."""
        await self._connection.call("stream_cancel", {"session_id": self.id, "message_id": message_id})

    async def _ask(
        self,
        event: str,
        payload: Mapping[str, object],
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
    ) -> Mapping[str, Any]:
        if self._fallback.active:
            return await self._api.request(method, path, json=body)
        return await self._connection.call(event, {"session_id": self.id, **payload})

    # -- coming and going ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Raises what the server says against it."""
        await self._keeper.open()

    async def close(self) -> None:
        """Leaves it. What was sent and is not acked is sent on."""
        if self.closed:
            return
        self.closed = True
        await self._keeper.close()
        for stop in self._stops:
            stop()
        self._end(None)
        await self._connection.emit("leave", {"session_id": self.id})

    def _end(self, error: ClientError | None) -> None:
        self._feed.end(error)
        self._streams.end(error)
        self._keeper.ended(error)

    # -- keeping it whole ------------------------------------------------------------------------------------------

    async def _step(self) -> float | None:
        seconds: float | None = None
        if self._fallback.active:
            seconds = self._poll_seconds
            try:
                await self._catch_up(self._page_by_http)
            except ClientError as error:
                if self._keeper.is_open or isinstance(error, Refused):
                    raise
                self._end(error)  # neither way leads anywhere
                return None
        elif self._connection.state in ("failed", "closed"):
            self._end(self._connection.why)
            return None
        elif self._connection.state == "connected" and (self._keeper.is_stale or self._sequence.gap):
            self._keeper.is_stale = False
            await self._catch_up(self._page_by_socket)
        if self._sequence.cursor is not None:
            self._keeper.opened()
        if self._sequence.gap and not self._feed.full and seconds is None:
            return AGAIN_SECONDS
        return seconds

    async def _catch_up(self, page: Callable[[int | None], Any]) -> None:
        """All there is after the last one known, as long as there is room for it."""
        has_more = True
        while has_more and not self._feed.full:
            cursor = self._sequence.cursor
            answer = await page(cursor)
            messages = [Message.from_wire(each) for each in answer.get("messages", ())]
            if cursor is None:
                self.history = tuple(messages)
                self._sequence.skip_to(messages[-1].seq if messages else 0)
                self._hand_out()
                return
            has_more = bool(answer.get("has_more")) and bool(messages)
            if not has_more:
                self._sequence.caught_up()
            for message in messages:
                self._sequence.offer(message.seq, message)
            self._hand_out()
        if has_more:
            self._sequence.fall_behind()
        self._hand_out()

    async def _page_by_socket(self, after: int | None) -> Mapping[str, Any]:
        wanted = {} if after is None else {"after_seq": after}
        joined = await self._connection.call("join", {"session_id": self.id, **wanted})
        self.info = {**joined["session"], "online": joined.get("online", [])}
        return joined

    async def _page_by_http(self, after: int | None) -> Mapping[str, Any]:
        query = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
        try:
            return await self._api.request("GET", f"{self._path}/messages", query=query)
        except Refused as error:
            if error.code == "FORBIDDEN" and not self.last_seq:
                return {"messages": []}  # it is made by the first message
            raise

    # -- what arrives ----------------------------------------------------------------------------------------------

    def _state_changed(self) -> None:
        self._keeper.wake(stale=self._connection.state == "connected")

    def _has_room(self) -> None:
        self._hand_out()
        if self._sequence.gap:
            self._keeper.wake()

    def _message(self, payload: Any) -> None:
        if isinstance(payload, Mapping) and payload.get("session_id") == self.id:
            self._take(Message.from_wire(payload))

    def _take(self, message: Message) -> None:
        self._sequence.offer(message.seq, message)
        self._hand_out()
        if self._sequence.gap:
            self._keeper.wake()

    def _hand_out(self) -> None:
        while not self._feed.full and (message := self._sequence.take()) is not None:
            self._feed.put(message)
            self._call("message", message)

    def _listener(self, event: str) -> Handler:
        def listen(payload: Any) -> None:
            if not isinstance(payload, Mapping) or payload.get("session_id") != self.id:
                return
            if event.startswith("stream_"):
                self._stream(event, payload)
            self._call(event, payload)

        return listen

    def _call(self, event: str, told: Any) -> None:
        for handler in list(self._handlers.get(event, ())):
            try:
                handler(told)
            except Exception:
                log.exception("a handler of %s failed", event)

    def _stream(self, event: str, payload: Mapping[str, Any]) -> None:
        stream = self._streams.hear(event, payload)
        if event != "stream_end" or "seq" not in payload:
            return
        metadata = {name: payload[name] for name in payload if name not in _OF_A_MESSAGE}
        sender = {"sender_type": "agent", "sender_id": "" if stream is None else stream.sender_id}
        self._take(Message.from_wire({**payload, **sender, "metadata": metadata}))


_OF_A_MESSAGE = frozenset({"message_id", "session_id", "seq", "content", "created_at"})
