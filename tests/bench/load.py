"""The load: many clients on raw sockets and one epoll, in this process. It knows no workload.

A client library would cost several times what the servers do. So the handshake is spoken by hand, and a message is
counted by its size: all of a phase are equally long. What is not of that size is read frame by frame.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import select
import socket
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

STALLED_SECONDS = 30
TURN_SECONDS = 0.01  # at most, when nothing comes
STAMP_DIGITS = 16
_MASK = b"\x5a\xc3\x3c\xa5"  # the RFC wants a random one; that it is not zero keeps servers at work
_TEXT, _CLOSE, _DEFLATED = 0x1, 0x8, 0x40


class Stalled(Exception):
    """The server sent less than it was told to, or closed a connection."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a client of a peer opens: a websocket at `path` (none: bare TCP), which may hold `{token}`, and a CONNECT to
    a Socket.IO namespace, or else a message that begins with `welcome`, where there is one."""

    path: str | None
    namespace: str | None
    deflate: bool = False
    welcome: bytes | None = None

    def upgrade(self, token: str) -> bytes:
        lines = [
            f"GET {(self.path or '').format(token=token)} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        if self.deflate:  # as browsers ask for it
            lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(slots=True)
class Phase:
    """What the messages of a phase look like to clients of one dialect."""

    header: bytes = b""
    frame_bytes: int = 0
    stamp: slice = field(default_factory=lambda: slice(0, 0))
    prefix: bytes = b"\0"


class Client:
    __slots__ = ("dialect", "inflater", "opened", "phase", "rest", "sent_at", "socket", "token", "upgraded")

    def __init__(self, connection: socket.socket, token: str, dialect: Dialect, phase: Phase) -> None:
        self.dialect = dialect
        self.phase = phase
        self.socket = connection
        self.token = token
        self.rest = b""
        self.upgraded = False
        self.opened = False
        self.inflater: zlib._Decompress | None = None
        self.sent_at = 0


class Load:
    """`delivered` counts messages, `latencies` holds nanoseconds, of the first and last message of each read; `heard`
    counts what came besides."""

    def __init__(self, port: int, dialect: Dialect, *, unread_bytes: int | None = None) -> None:
        """`unread_bytes`: what the kernel takes for a client that does not read; its own default is some 100 KB."""
        self.clients: list[Client] = []
        self.delivered = 0
        self.heard = 0
        self.wire_bytes = 0
        self.latencies = array("q")
        self._port = port
        self._dialect = dialect
        self._unread_bytes = unread_bytes
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Client] = {}
        self._opened = 0
        self._buffer = bytearray(1 << 16)
        self._phases: dict[Dialect, Phase] = {dialect: Phase()}
        self._answer: Callable[[Client], None] | None = None

    # -- connecting ---------------------------------------------------------------------------------------------

    def connect(
        self, tokens: Sequence[str], *, port: int | None = None, at_once: int = 50, dialect: Dialect | None = None
    ) -> None:
        """Returns when all are connected, to another `port` or in another `dialect` where one is given; that many are
        under way at a time."""
        target = len(self.clients) + len(tokens)
        waiting = iter(tokens)
        while self._opened < target:
            under_way = len(self.clients) - self._opened
            for token in islice(waiting, at_once - under_way):
                self._open(token, port or self._port, dialect or self._dialect)
            self._turn()

    def _open(self, token: str, port: int, dialect: Dialect) -> None:
        connection = socket.socket()
        if self._unread_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._unread_bytes)
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection, token, dialect, self._phases.setdefault(dialect, Phase()))
        self.clients.append(client)
        self._by_descriptor[connection.fileno()] = client
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        if dialect.path is None:
            self._opens(client)
        else:
            connection.send(dialect.upgrade(token))

    def _opens(self, client: Client) -> None:
        client.upgraded = client.opened = True
        self._opened += 1

    def cut_off(self) -> int:
        """How many the server has closed. Who does not read learns nothing of it: FIN waits behind the rest."""
        established = rf":{self._port:04X} \w+:(\w+) 01 "  # at the server's end
        remote_ports = re.findall(established, Path("/proc/net/tcp").read_text())
        ports = {client.socket.getsockname()[1] for client in self.clients}
        return len(ports - {int(port, 16) for port in remote_ports})

    def close(self) -> None:
        for client in self.clients:
            client.socket.close()
        self._epoll.close()

    # -- phases -------------------------------------------------------------------------------------------------

    def expect(self, message: bytes, stamp: bytes, *, dialect: Dialect | None = None) -> None:
        """Messages from here on look like this one; where it holds `stamp`, they hold the moment of their emit."""
        dialect = dialect or self._dialect
        phase = self._phases.setdefault(dialect, Phase())
        ready = frame(message) if dialect.path is not None else message
        start = ready.find(stamp)
        phase.header = ready[:4]
        phase.frame_bytes = 0 if dialect.deflate else len(ready)
        phase.stamp = slice(start, start + STAMP_DIGITS)
        start = message.find(stamp)
        phase.prefix = message[:start]
        self._answer = None

    def answer(self, prefix: bytes, answer: Callable[[Client], None], *, dialect: Dialect | None = None) -> None:
        """Messages from here on begin so; each is answered at once."""
        phase = self._phases.setdefault(dialect or self._dialect, Phase())
        phase.frame_bytes = 0
        phase.prefix = prefix
        self._answer = answer

    def send(self, client: Client, message: bytes) -> None:
        client.socket.sendall(masked(message) if client.dialect.path is not None else message)

    def ask(self, clients: Sequence[Client], event: str, payload: object) -> None:
        """Returns when each has its ack."""
        namespace = self._dialect.namespace
        self.answer(f'43{namespace},7[{{"ok":true'.encode(), lambda client: None)
        for client in clients:
            self.send(client, f"42{namespace},7{json.dumps([event, payload])}".encode())
        self.receive(messages=len(clients))

    def drain(self, seconds: float) -> None:
        """Until nothing has come for so long."""
        seen = -1
        while self.wire_bytes != seen:
            seen = self.wire_bytes
            self.receive(seconds=seconds)

    def receive(self, *, messages: int | None = None, seconds: float = STALLED_SECONDS) -> None:
        """Until that many more have come, or else for that long. Raises Stalled when none comes for a while."""
        target = None if messages is None else self.delivered + messages
        until = time.monotonic() + seconds
        seen = self.delivered
        while target is None or self.delivered < target:
            self._turn()
            now = time.monotonic()
            if target is None:
                if now >= until:
                    return
            elif self.delivered != seen:
                seen, until = self.delivered, now + STALLED_SECONDS
            elif now > until:
                raise Stalled(f"{target - self.delivered} of {messages} messages did not come")

    # -- reading ------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for descriptor, _ in self._epoll.poll(TURN_SECONDS):
            self._take(self._by_descriptor[descriptor])

    def _take(self, client: Client, most: int = 0) -> None:
        """What has come, `most` bytes of it where that is given. Raises BlockingIOError where nothing has."""
        buffer = self._buffer
        size = client.socket.recv_into(buffer, most, socket.MSG_DONTWAIT)
        now = time.monotonic_ns()
        self.wire_bytes += size
        if not size:
            raise Stalled("the server closed a connection")
        if client.rest or not client.upgraded:
            data = bytearray(client.rest)
            data += memoryview(buffer)[:size]
            client.rest = b""
            self._read(client, data, len(data), now)
        else:
            self._read(client, buffer, size, now)

    def _read(self, client: Client, data: bytearray, end: int, now: int) -> None:
        at = 0
        if not client.upgraded:
            at = data.find(b"\r\n\r\n") + 4
            if at == 3:
                client.rest = bytes(data[:end])
                return
            self._upgraded(client, bytes(data[:at]))
        size, header, stamp = client.phase.frame_bytes, client.phase.header, client.phase.stamp
        while at < end:
            if size and data.startswith(header, at):
                count = (end - at) // size
                last = at + (count - 1) * size
                if count and data.startswith(header, last):
                    self._stamped(data, at, now, stamp)
                    if count > 1:
                        self._stamped(data, last, now, stamp)
                    self.delivered += count
                    at += count * size
                    continue
            after = self._read_frame(client, data, at, end, now)
            if after is None:
                break
            at = after
        client.rest = bytes(data[at:end])

    def _stamped(self, data: bytearray, at: int, now: int, stamp: slice) -> None:
        self.latencies.append(now - int(data[at + stamp.start : at + stamp.stop]))

    def _read_frame(self, client: Client, data: bytearray, at: int, end: int, now: int) -> int | None:
        """Where the next frame begins, None while this one has not come whole."""
        if end - at < 2:
            return None
        start, size = at + 2, data[at + 1]
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start], "big")
        if start + size > end:
            return None
        message = bytes(data[start : start + size])
        if data[at] & 0xF == _CLOSE:
            raise Stalled(f"the server closed a connection: {message!r}")
        if data[at] & _DEFLATED and client.inflater is not None:
            message = client.inflater.decompress(message + b"\0\0\xff\xff")
        if data[at] & 0xF == _TEXT:
            self._message(client, message, now)
        return start + size

    def _message(self, client: Client, message: bytes, now: int) -> None:
        if message.startswith(client.phase.prefix):
            self.delivered += 1
            if self._answer is None:
                start = len(client.phase.prefix)
                self.latencies.append(now - int(message[start : start + STAMP_DIGITS]))
            else:
                self.latencies.append(now - client.sent_at)
                self._answer(client)
        elif message == b"2":
            self.send(client, b"3")
        elif client.opened:
            self.heard += 1
        else:
            self._handshake(client, message)

    def _upgraded(self, client: Client, response: bytes) -> None:
        if not response.startswith(b"HTTP/1.1 101"):
            raise Stalled(response.decode())
        client.upgraded = True
        if b"permessage-deflate" in response:
            client.inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        elif client.dialect.deflate:
            raise Stalled("the server does not compress")
        if client.dialect.namespace is None and client.dialect.welcome is None:
            self._opens(client)

    def _handshake(self, client: Client, message: bytes) -> None:
        namespace, welcome = client.dialect.namespace, client.dialect.welcome
        if welcome is not None and message.startswith(welcome):
            self._opens(client)
        elif message.startswith(b"0{"):
            self.send(client, f'40{namespace},{{"token":"{client.token}"}}'.encode())
        elif message.startswith(f"40{namespace},".encode()):
            self._opens(client)
        else:
            raise Stalled(f"no handshake: {message!r}")


def frame(message: bytes) -> bytes:
    """As servers send it."""
    size = len(message)
    head = bytes((0x81, size)) if size < 126 else bytes((0x81, 126)) + size.to_bytes(2, "big")
    return head + message


def masked(message: bytes) -> bytes:
    """As clients must."""
    ready = frame(message)
    start = len(ready) - len(message)
    mask = (_MASK * (len(message) // 4 + 1))[: len(message)]
    body = int.from_bytes(message) ^ int.from_bytes(mask)
    return bytes((ready[0], ready[1] | 0x80)) + ready[2:start] + _MASK + body.to_bytes(len(message))


@contextmanager
def undisturbed() -> Iterator[None]:
    """No collection of garbage while the clock runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
