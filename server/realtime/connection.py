"""One client's membership in one namespace, as handlers see it; how bytes reach it is the server's business."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from server.identity import Identity
from server.realtime.limits import Window


@dataclass(slots=True, eq=False)
class Connection:
    """`identity` changes only by `authenticate`, and then only its expiry and roles: never who it is.

    `connected_at` is in seconds since the epoch.
    """

    id: str
    namespace: str
    identity: Identity
    address: str
    transport_id: str = ""
    rooms: set[str] = field(default_factory=set)
    window: Window = field(default_factory=Window)  # what counts its events
    connected_at: float = field(default_factory=time.time)

    @property
    def user_id(self) -> str:
        return self.identity.user_id

    @property
    def tenant(self) -> str | None:
        return self.identity.tenant
