"""Who is in which session on this node, by connection; it tells nobody."""

from __future__ import annotations

from server.realtime.connection import Connection


class Presence:
    """A session's users are of one tenant, so a user_id names one user in it."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, set[str]]] = {}  # session -> user -> connections
        self._joined: dict[str, set[str]] = {}  # connection -> sessions

    def enter(self, session_id: str, connection: Connection) -> bool:
        """Whether its user was not there before."""
        self._joined.setdefault(connection.id, set()).add(session_id)
        users = self._sessions.setdefault(session_id, {})
        arrived = connection.user_id not in users
        users.setdefault(connection.user_id, set()).add(connection.id)
        return arrived

    def leave(self, session_id: str, connection: Connection) -> bool:
        """Whether its user is there no more, and was."""
        if not self.holds(session_id, connection):
            return False
        joined = self._joined[connection.id]
        joined.discard(session_id)
        if not joined:
            del self._joined[connection.id]
        users = self._sessions[session_id]
        connections = users[connection.user_id]
        connections.discard(connection.id)
        if connections:
            return False
        del users[connection.user_id]
        if not users:
            del self._sessions[session_id]
        return True

    def holds(self, session_id: str, connection: Connection) -> bool:
        return session_id in self._joined.get(connection.id, ())

    def sessions(self, connection: Connection) -> list[str]:
        """The sessions a connection has joined."""
        return sorted(self._joined.get(connection.id, ()))

    def online(self, session_id: str) -> list[str]:
        """The users in a session, the longest there first."""
        return list(self._sessions.get(session_id, {}))
