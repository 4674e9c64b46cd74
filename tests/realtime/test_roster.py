from __future__ import annotations

from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.roster import Listed, Roster

ALICE = Connection("c1", "/chat", Identity("alice", tenant="acme"), "10.0.0.1", connected_at=2.0)
BOB = Connection("c2", "/trading", Identity("bob"), "10.0.0.2", connected_at=1.0)


async def test_all_connections_the_oldest_first() -> None:
    here = [ALICE, BOB]
    roster = Roster(lambda: here)
    listed = [
        Listed("c2", "/trading", "bob", None, "10.0.0.2", 1.0),
        Listed("c1", "/chat", "alice", "acme", "10.0.0.1", 2.0),
    ]
    assert await roster.connections() == listed
    here.remove(BOB)
    assert await roster.connections() == listed[1:]
