"""Without Redis; what happens when it goes and comes is in `test_cluster.py`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from server.namespaces.trading.broker import Publication
from server.namespaces.trading.channels import room
from server.namespaces.trading.islands import Island
from tests.namespaces.trading.test_channels import SHARED, THREE


@dataclass
class Member:
    tenant: str | None


class Rooms:
    """Who is in which."""

    def __init__(self, **tenants: Sequence[str]) -> None:
        self.rooms: dict[str, list[Any]] = {}
        for tenant, channels in tenants.items():
            for channel in channels:
                self.rooms.setdefault(room(tenant, channel), []).append(Member(tenant))

    @property
    def connections(self) -> Sequence[Any]:
        return list(itertools.chain.from_iterable(self.rooms.values()))

    def members(self, room: str | Collection[str]) -> Sequence[Any]:
        return [each for one in ([room] if isinstance(room, str) else room) for each in self.rooms.get(one, [])]


class Ordered:
    def __init__(self) -> None:
        self.delivered: list[tuple[Sequence[str], Any]] = []

    def deliver_here(self, rooms: Sequence[str], arguments: Sequence[Any], conflate: object) -> None:
        self.delivered.append((rooms, arguments[1]["seq"]))


def island(rooms: Rooms) -> tuple[Island, Ordered]:
    ordered = Ordered()
    return Island(rooms, ordered, most=10, clock=lambda: 0.0), ordered  # type: ignore[arg-type]


def test_it_counts_far_above_redis_and_anew_each_time() -> None:
    alone, ordered = island(Rooms())
    receipt, above = alone.publish(Publication(None, "c:x", THREE, "message", {"data": 1}), deliver=True)
    assert receipt["seq"] == above > 10**15
    assert ordered.delivered == [((room(None, "c:x"),), above)]
    before = alone.open(None, "c:x", THREE)
    alone.over()
    assert alone.open(None, "c:x", THREE).epoch != before.epoch


def test_a_shared_channel_reaches_the_tenants_that_are_here() -> None:
    alone, ordered = island(Rooms(t=["c:x"], u=["c:y"]))
    receipt, _ = alone.publish(Publication(None, "c:x", SHARED, "message", {"data": 1}), deliver=True)
    assert [rooms for rooms, _ in ordered.delivered] == [(room(None, "c:x"),), (room("t", "c:x"),)]
    assert receipt["subscribers"] == 1
    alone.publish(Publication(None, "c:x", SHARED, "message", {"data": 1}), deliver=False)
    assert len(ordered.delivered) == 2
