"""A stock Socket.IO client whose session outlives a drop (SPEC §3 Recovery); its user sees the same events, and no
others, as if it had not dropped. For one namespace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import socketio
from socketio import packet
from socketio.exceptions import SocketIOError

log = logging.getLogger(__name__)

END_SECONDS = 6.0  # engine.io gives a server five to close with it
GOODBYE_SECONDS = 1.0  # for what was said last to be on its way


@dataclass(slots=True)
class Place:
    """How far a session was heard: whoever has it may go on there. `recovered`: the newest connection did."""

    pid: str | None = None
    offset: str | None = None
    recovered: bool = False


class RecoveringClient(socketio.AsyncClient):  # type: ignore[misc] # python-socketio is untyped
    """`recovered`: the newest connection goes on where the one before it ended. Connect it with `auth` from `asking`.

    Stock clients know nothing of recovery, so the two methods where they hand on what they received are extended.
    """

    def __init__(self, *, place: Place | None = None, **options: Any) -> None:
        """`place`: of the client before this one."""
        super().__init__(**options)
        self._place = place or Place()

    @property
    def recovered(self) -> bool:
        return self._place.recovered

    def asking(self, auth: Mapping[str, object]) -> dict[str, object]:
        """`auth` that asks for recovery, of the session there was."""
        known = {"pid": self._place.pid, "offset": self._place.offset}
        return {**auth, "recovery": True, **{name: value for name, value in known.items() if value is not None}}

    async def leave(self) -> None:
        """Says goodbye, so that nobody keeps its session; `disconnect` ends the transport before it could be heard."""
        for namespace in list(self.namespaces):
            await self._send_packet(self.packet_class(packet.DISCONNECT, namespace=namespace))
        if self.eio.state == "connected":
            with suppress(TimeoutError):
                await asyncio.wait_for(self.eio.queue.join(), GOODBYE_SECONDS)
        await self.disconnect()

    async def end(self) -> None:
        """Leaves, in a bounded time whatever the network does."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.leave()
        except (TimeoutError, SocketIOError, aiohttp.ClientError, OSError) as error:
            log.debug("the connection did not close by itself: %r", error)

    async def _handle_connect(self, namespace: str | None, data: Mapping[str, Any] | None) -> None:
        pid = (data or {}).get("pid")
        self._place.recovered = pid is not None and pid == self._place.pid
        if not self._place.recovered:
            self._place.pid, self._place.offset = pid, None
        await super()._handle_connect(namespace, data)

    async def _handle_event(self, namespace: str | None, id: int | None, data: list[Any]) -> None:
        """What asks for an ack has no offset, and what is volatile neither; a server's payloads are objects."""
        if self._place.pid is not None and id is None and len(data) > 1 and isinstance(data[-1], str):
            *data, self._place.offset = data
        await super()._handle_event(namespace, id, data)
