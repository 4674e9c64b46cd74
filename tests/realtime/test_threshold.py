from __future__ import annotations

import pytest

from server.errors import GoingAway
from server.realtime.engine.outlet import Outlet
from server.realtime.engine.protocol import Refused
from server.realtime.engine.session import Session
from server.realtime.link import Handshake, Link
from server.realtime.threshold import MAX_REFUSED_PER_ADDRESS, Threshold
from tests.realtime.engine.test_session import Owner


class Doorstep:
    def __init__(self) -> None:
        self.now = 0.0
        self.threshold = Threshold(45, lambda: self.now)

    def link(self, id: str, address: str = "10.0.0.1") -> Link:
        return Link(Session(id, Owner(), Outlet()), Handshake(address, None, None))

    def refused(self, id: str, address: str = "10.0.0.1") -> Link:
        link = self.link(id, address)
        self.threshold.refuse(link, GoingAway())
        return link


@pytest.fixture
def door() -> Doorstep:
    return Doorstep()


def test_who_does_not_come_in_is_due_after_a_while_the_oldest_first(door: Doorstep) -> None:
    for id in ("a", "b", "c"):
        door.threshold.watch(door.link(id))
        door.now += 1
    assert door.threshold.due(44.9) == []
    assert door.threshold.due(46) == ["a", "b"]
    assert door.threshold.due(46) == ["a", "b"]  # until they are closed


@pytest.mark.parametrize("leave", [Threshold.came_in, Threshold.gone])
def test_who_came_in_or_is_gone_is_not_due(door: Doorstep, leave: object) -> None:
    link = door.link("a")
    door.threshold.watch(link)
    assert callable(leave)
    leave(door.threshold, link)
    leave(door.threshold, link)
    assert (door.threshold.due(1000), len(door.threshold)) == ([], 0)


def test_who_leaves_its_last_namespace_has_the_same_time_again(door: Doorstep) -> None:
    link = door.link("a")
    door.threshold.watch(link)
    door.threshold.came_in(link)
    door.now = 100
    door.threshold.watch(link)
    assert (door.threshold.due(144.9), door.threshold.due(145)) == ([], ["a"])


def test_so_many_of_an_address_are_told_why_and_the_others_are_refused_at_once(door: Doorstep) -> None:
    told = [door.refused(str(number)) for number in range(MAX_REFUSED_PER_ADDRESS)]
    assert all(link.refusal is not None for link in told)
    late = door.link("late")
    with pytest.raises(Refused):
        door.threshold.refuse(late, GoingAway())
    assert late.refusal is None
    door.threshold.gone(late)  # it takes no place, and frees none
    with pytest.raises(Refused):
        door.refused("later")
    door.refused("elsewhere", "10.0.0.2")
    door.threshold.gone(told[0])
    door.refused("again")


def test_nothing_is_kept_of_addresses_that_are_gone(door: Doorstep) -> None:
    for number in range(100):
        link = door.refused(str(number), f"10.0.0.{number}")
        door.threshold.watch(link)
        door.threshold.gone(link)
    assert (len(door.threshold), len(door.threshold._refused)) == (0, 0)
