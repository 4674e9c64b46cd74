"""A TCP proxy that does what networks do to connections: refuse, cut, slow and swallow."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Self

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what was not sent is dropped, and the other side told so

CHUNK_BYTES = 65_536
MAX_CHUNKS = 1000  # under way in one direction; beyond it, the sender is held up


class Proxy:
    """Forwards to `host:port` what comes to 127.0.0.1:`port`; faults hold for connections there are and will be."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self.port = 0

    @classmethod
    async def start(cls, host: str, port: int) -> Self:
        proxy = cls(host, port)
        await proxy.accept()
        return proxy

    async def close(self) -> None:
        self.refuse()
        await self.cut()

    async def accept(self) -> None:
        """Listens, on the port it had if it refused before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """New connections only; those there are go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def cut(self) -> None:
        """All connections there are end, by a reset on both sides."""
        cut = list(self._connections)
        for each in cut:
            each.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    def black_hole(self, holding: bool) -> None:
        """While it holds nothing is read and nothing forwarded, and connections stay; then all of it arrives."""
        if holding:
            self._flowing.clear()
        else:
            self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Each way, from now on."""
        self._delay = seconds

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._flowing.wait()
            there, thither = await asyncio.open_connection(*self._target)
            writers.append(thither)
            for each in writers:
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            async with asyncio.TaskGroup() as ways:
                for source, sink in ((reader, thither), (there, writer)):
                    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_CHUNKS)
                    ways.create_task(self._receive(source, under_way))
                    ways.create_task(self._send(under_way, sink))
        except* OSError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _receive(self, source: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        """An empty chunk is the end of the stream."""
        chunk = b"..."
        while chunk:
            await self._flowing.wait()
            chunk = await source.read(CHUNK_BYTES)
            await under_way.put((asyncio.get_running_loop().time() + self._delay, chunk))

    async def _send(self, under_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._flowing.wait()
            if not chunk:
                raise ConnectionResetError  # ends both ways, as a process does that ended
            sink.write(chunk)
            await sink.drain()
