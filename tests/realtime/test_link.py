from __future__ import annotations

from server.realtime.engine.outlet import Outlet
from server.realtime.engine.session import Session
from server.realtime.link import Handshake, Link, Member
from tests.realtime.engine.test_session import Owner


def link(id: str = "transport") -> Link:
    return Link(Session(id, Owner(), Outlet()), Handshake("127.0.0.1", None, None))


async def test_a_link_is_known_by_its_session() -> None:
    assert link().id == "transport"


async def test_links_and_members_are_themselves_however_alike() -> None:
    one = link()
    assert one != Link(one.session, one.handshake)
    members = [Member("sid", "/chat", one) for _ in range(2)]
    assert len({*members}) == 2
    members[0].rooms.add("a")
    one.members["/chat"] = members[0]
    assert (members[1].rooms, link().members) == (set(), {})


async def test_an_idle_one_holds_little() -> None:
    """Ten thousand of them: no dictionary each, no callbacks, no queue."""
    one = link()
    member = Member("sid", "/chat", one)
    for each in (one, one.handshake, member):
        assert not hasattr(each, "__dict__")
    assert (member.connected, member.held, member.callbacks, one.pending) == (False, None, None, None)
