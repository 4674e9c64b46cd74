"""A connection to an MQTT broker: paho speaks the protocol, over a transport of asyncio. So it can be given up at any
moment, and nothing waits in threads or tasks; by itself paho connects in a thread that nobody ends, as aiomqtt does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:  # it is there for type checkers only
    from paho.mqtt.client import SocketLike

LARGEST_PACKET = 2**20  # bytes; who sends more is hung up on
#: A broker that is silent for twice as long is gone.
KEEPALIVE_SECONDS = 5
TLS_GOODBYE_SECONDS = 1.0
TOPICS_AT_ONCE = 50  # in one request to subscribe
QOS = 1
FENCE = "atrium/fence"


class _Engine(Client):
    """paho, on a socket that is connected already."""

    def __init__(self, wire: SocketLike, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        self._wire = wire

    def _create_socket(self) -> SocketLike:
        return self._wire


class Connection(asyncio.Protocol):
    """Is opened once. `take` is called with the topic and the payload of each message, and may not raise. What paho
    takes for a socket is this, too."""

    def __init__(
        self, client_id: str, user: str | None, password: str | None, take: Callable[[str, bytes], None]
    ) -> None:
        self._take = take
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[Sequence[ReasonCode]] | None = None
        self._lost: str | None = None
        engine = self._engine = _Engine(self, client_id)
        if user is not None:
            engine.username_pw_set(user, password)
        engine.on_message = lambda client, data, message: self._heard(message)
        engine.on_connect = lambda client, data, flags, reason, properties: self._answered([reason])
        engine.on_subscribe = lambda client, data, mid, reasons, properties: self._answered(reasons)
        engine.on_unsubscribe = lambda client, data, mid, reasons, properties: self._answered(reasons)
        engine.on_disconnect = lambda client, data, flags, reason, properties: self._end(str(reason))

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Raises OSError; `leave` is due then as well."""
        loop = asyncio.get_running_loop()
        goodbye = None if tls is None else TLS_GOODBYE_SECONDS
        await loop.create_connection(lambda: self, host, port, ssl=tls, ssl_shutdown_timeout=goodbye)
        (reason,) = await self._ask(lambda: self._engine.connect(host, port, KEEPALIVE_SECONDS))
        if reason.is_failure:
            raise ConnectionRefusedError(f"the broker refuses: {reason}")

    async def subscribe(self, topics: Sequence[str]) -> Sequence[str]:
        """Returns those that the broker refuses. What it retains of the others is taken before. Raises OSError."""
        refused: list[str] = []
        for start in range(0, len(topics), TOPICS_AT_ONCE):
            some = topics[start : start + TOPICS_AT_ONCE]
            wanted = [(topic, QOS) for topic in some]
            reasons = await self._ask(partial(self._engine.subscribe, wanted))
            refused += [topic for topic, reason in zip(some, reasons, strict=False) if reason.is_failure]
        # Brokers answer in order, and everybody may unsubscribe from what they never subscribed to.
        await self._ask(lambda: self._engine.unsubscribe(FENCE))
        return refused

    def attend(self) -> bool:
        """Whether the connection still is. To be called every second or so: it sends pings, and misses answers."""
        if self._lost is None:
            self._run(self._engine.loop_misc)
        return self._lost is None

    def leave(self) -> None:
        self._run(self._engine.disconnect)
        self._end("left")

    async def _ask(self, request: Callable[[], object]) -> Sequence[ReasonCode]:
        """One at a time."""
        if self._lost is not None:
            raise ConnectionResetError(self._lost)
        self._answer = asyncio.get_running_loop().create_future()
        self._run(request)
        return await self._answer

    def _answered(self, reasons: Sequence[ReasonCode]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reasons)

    def _heard(self, message: MQTTMessage) -> None:
        self._take(message.topic, bytes(message.payload))

    def _run(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # paho fails in any way over what is not MQTT
            self._end(f"not understood: {error!r}")

    def _end(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(self._lost))

    # -- of asyncio's transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received and self._lost is None:
            self._run(self._engine.loop_read)

    def connection_lost(self, error: Exception | None) -> None:
        self._end("the broker closed the connection" if error is None else str(error))

    # -- as paho's socket ----------------------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """It is asked for what is left of a packet."""
        if size > LARGEST_PACKET:
            raise ValueError(f"a packet of {size} bytes")
        if not self._received:
            raise BlockingIOError
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(bytes(data))
        return len(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""
