from __future__ import annotations

from server.identity import Identity
from server.realtime.connection import Connection


def test_speaks_for_its_identity_as_it_is_now() -> None:
    connection = Connection("id", "/x", Identity("alice", tenant="acme"), "10.0.0.1")
    assert (connection.user_id, connection.tenant) == ("alice", "acme")
    connection.identity = Identity("alice", tenant="acme", roles=frozenset({"admin"}))
    assert connection.identity.has_role("admin")


def test_two_connections_are_never_equal() -> None:
    assert Connection("id", "/x", Identity("a"), "") != Connection("id", "/x", Identity("a"), "")
