"""The `system` events of a session (SPEC §4): what became of it, and by whom."""

from __future__ import annotations

from server.namespaces.chat.models import ChatSession
from server.namespaces.chat.presence import session_room
from server.realtime.delivery import Delivery
from server.timestamps import iso_utc


async def tell(delivery: Delivery, session: ChatSession, event: str, user_id: str) -> None:
    """To all who joined it."""
    payload = {"event": event, "session_id": session.session_id, "user_id": user_id, "timestamp": iso_utc()}
    await delivery.emit("system", payload, room=session_room(session.tenant, session.session_id))
