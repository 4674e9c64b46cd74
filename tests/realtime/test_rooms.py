from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.realtime.rooms import EVERYONE, room_name

tenants = st.none() | st.text(min_size=1, max_size=5)
kinds = st.sampled_from(["session", "channel", "user"])


@given(st.tuples(tenants, kinds, st.text(max_size=8)), st.tuples(tenants, kinds, st.text(max_size=8)))
def test_no_two_things_share_a_room(one: tuple[str | None, str, str], other: tuple[str | None, str, str]) -> None:
    assert (room_name(*one) == room_name(*other)) == (one == other)


@given(tenants, kinds, st.text(max_size=8))
def test_no_name_spells_the_room_of_everyone(tenant: str | None, kind: str, name: str) -> None:
    assert room_name(tenant, kind, name) != EVERYONE
