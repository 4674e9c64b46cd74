"""A stock Socket.IO client whose session outlives a drop (SPEC §3 Recovery); its user sees the same events, and no
others, as if it had not dropped. For one namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import socketio


class RecoveringClient(socketio.AsyncClient):  # type: ignore[misc] # python-socketio is untyped
    """`recovered`: the newest connection goes on where the one before it ended. Connect it with `auth` from `asking`.

    Stock clients know nothing of recovery, so the two methods where they hand on what they received are extended.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.recovered = False
        self._pid: str | None = None
        self._offset: str | None = None

    def asking(self, auth: Mapping[str, object]) -> dict[str, object]:
        """`auth` that asks for recovery, of the session there was."""
        known = {"pid": self._pid, "offset": self._offset}
        return {**auth, "recovery": True, **{name: value for name, value in known.items() if value is not None}}

    async def _handle_connect(self, namespace: str | None, data: Mapping[str, Any] | None) -> None:
        pid = (data or {}).get("pid")
        self.recovered = pid is not None and pid == self._pid
        if not self.recovered:
            self._pid, self._offset = pid, None
        await super()._handle_connect(namespace, data)

    async def _handle_event(self, namespace: str | None, id: int | None, data: list[Any]) -> None:
        """What asks for an ack has no offset, and what is volatile neither; a server's payloads are objects."""
        if self._pid is not None and id is None and len(data) > 1 and isinstance(data[-1], str):
            *data, self._offset = data
        await super()._handle_event(namespace, id, data)
