from __future__ import annotations

from server.identity import Identity
from server.realtime.cluster.roster import ClusterRoster
from server.realtime.connection import Connection
from server.realtime.roster import Listed
from tests.support.present import cluster

ALICE = Connection("c1", "/chat", Identity("alice", tenant="acme"), "10.0.0.1", connected_at=2.0)
BOB = Connection("c2", "/trading", Identity("bob"), "10.0.0.2", connected_at=1.0)


async def test_every_node_lists_the_connections_of_all_that_live() -> None:
    async with cluster() as rig:
        here, there, dead = [await rig.member() for _ in range(3)]
        rosters = [ClusterRoster(here.node, lambda: [ALICE]), ClusterRoster(there.node, lambda: [BOB])]
        ClusterRoster(dead.node, lambda: [ALICE])
        await dead.cut()
        bob = Listed("c2", "/trading", "bob", None, "10.0.0.2", 1.0, there.node.id)
        alice = Listed("c1", "/chat", "alice", "acme", "10.0.0.1", 2.0, here.node.id)
        for roster in rosters:
            assert await roster.connections() == [bob, alice]
        await here.cut()
        assert await rosters[0].connections() == [alice]
        await here.heal()
        assert await rosters[0].connections() == [bob, alice]
