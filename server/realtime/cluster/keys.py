"""The name of every Redis key and channel, in one place.

Keys of one namespace share a hash tag, so that one script may touch them in a Redis Cluster. Channels begin with the
namespace's slash or a node's `node/`: what follows the prefix from outside (`PUBLISH {prefix}:general`) never does.
"""

from __future__ import annotations

from dataclasses import dataclass

NODES = "nodes"  # what is no namespace's


def session_users(session_id: str) -> str:
    """The users in a chat session, for readers outside: its name is the seed's."""
    return f"ws:sessions:{session_id}"


def user_connection(tenant: str | None, user_id: str) -> str:
    """A user's newest chat connection, for readers outside: its name is the seed's."""
    return f"ws:connections:{user_id}" if tenant is None else f"ws:connections:{tenant}:{user_id}"


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str

    def key(self, namespace: str, kind: str, *names: str) -> str:
        return ":".join((self.prefix, f"{{{namespace}}}", kind, *names))

    # -- of a namespace -----------------------------------------------------------------------------------------

    def offset(self, namespace: str) -> str:
        """The newest offset that was given out."""
        return self.key(namespace, "offset")

    def epoch(self, namespace: str) -> str:
        """Changes when Redis lost what it knew."""
        return self.key(namespace, "epoch")

    def origin(self, namespace: str, node: str) -> str:
        """How many of a node's events were logged."""
        return self.key(namespace, "origin", node)

    def log(self, namespace: str, room: str) -> str:
        """The stream of a room's events, by offset."""
        return self.key(namespace, "log", room)

    def lost(self, namespace: str, room: str) -> str:
        """The offset up to which a room's log had to be cut for want of space."""
        return self.key(namespace, "lost", room)

    def gap(self, namespace: str) -> str:
        """The offset at which a node had to give up events that it held for Redis."""
        return self.key(namespace, "gap")

    def session(self, namespace: str, pid: str) -> str:
        """A session that can be resumed."""
        return self.key(namespace, "session", pid)

    def home(self, namespace: str, sid: str) -> str:
        """The node to which a connection's room moved, where it is not the one in its id."""
        return self.key(namespace, "home", sid)

    def sole(self, namespace: str, user: str) -> str:
        """A user's only connection, where each may have one."""
        return self.key(namespace, "sole", user)

    def asks(self, namespace: str, user: str) -> str:
        """The questions that a user is asked, by when they are over."""
        return self.key(namespace, "asks", user)

    # -- of no namespace ----------------------------------------------------------------------------------------

    def rate(self, use: str) -> str:
        """How often something happened of late."""
        return self.key(NODES, "rate", use)

    def lease(self, name: str) -> str:
        """Who does what only one node may do."""
        return self.key(NODES, "lease", name)

    def presence(self, namespace: str, kind: str, *names: str) -> str:
        """Who is where."""
        return self.key(namespace, "presence", kind, *names)

    # -- channels -----------------------------------------------------------------------------------------------

    def channel(self, namespace: str, room: str) -> str:
        return f"{self.prefix}:{namespace}:{room}"

    def node(self, node: str) -> str:
        """What is for one node alone."""
        return f"{self.prefix}:/node/{node}"
