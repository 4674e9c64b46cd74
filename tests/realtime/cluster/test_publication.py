from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest_asyncio

from server.realtime.cluster import presence
from server.realtime.cluster.publication import Publication
from tests.support.present import DELAY, Rig, cluster, connection, until


@dataclass(frozen=True)
class Shown:
    key: str

    def text(self, users: Sequence[bytes], notes: Sequence[bytes]) -> bytes:
        return b",".join(users) + b" " + b",".join(sorted(notes))


def describe(room: str) -> Shown | None:
    return None if room == "hidden" else Shown(f"shown:{room}")


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with cluster() as rig:
        yield rig


async def shows(rig: Rig, text: bytes | None, room: str = "r") -> None:
    async def so() -> bool:
        return bool(await rig.client.get(f"shown:{room}") == text)

    await until(so)


async def test_it_shows_who_is_there_and_what_is_noted_of_them(rig: Rig) -> None:
    here, there = await rig.member(describe), await rig.member(describe)
    alice, bob = connection("alice"), connection("bob")
    await here.presence.enter("hidden", alice, "a1")
    await here.presence.enter("r", alice, "a1")
    await shows(rig, b"alice a1")
    await there.presence.enter("r", bob)
    await shows(rig, b"alice,bob a1")
    await here.presence.enter("r", alice, "a2")
    await shows(rig, b"alice,bob a2")
    assert 0 < await rig.client.ttl("shown:r") <= 300
    await here.presence.drop(alice)
    await here.settle(DELAY)
    await shows(rig, b"bob ")
    await there.presence.leave("r", bob)
    await shows(rig, None)
    assert await rig.client.keys("shown:*") == []


async def test_nodes_that_write_at_once_agree_in_the_end(rig: Rig) -> None:
    members = [await rig.member(describe) for _ in range(2)]
    all_ = [(members[i % 2].presence, connection(f"c{i}")) for i in range(40)]
    await asyncio.gather(*[each.enter("r", user) for each, user in all_])
    await asyncio.gather(*[each.leave("r", user) for each, user in all_[1:]])
    await shows(rig, b"c0 ")
    for each in members:
        publication = each.presence._publication  # type: ignore[attr-defined]
        await until(lambda publication=publication: not publication._works)  # type: ignore[misc]
    await shows(rig, b"c0 ")


async def test_what_changed_while_it_was_written_is_written_after_it(rig: Rig) -> None:
    states = [[b"alice"], [b"bob"], [b"bob", b"eve"]]

    async def read(room: str) -> tuple[list[bytes], list[bytes]]:
        return (states.pop(0) if len(states) > 1 else states[0]), []

    publication = Publication((await rig.member()).node, describe, read)
    publication.renew(["r"])
    await until(lambda: not publication._works)
    assert await rig.client.get("shown:r") == b"bob,eve "


async def test_it_is_kept_fresh_while_somebody_is_there(rig: Rig) -> None:
    here = await rig.member(describe)
    await here.presence.enter("r", connection("alice"))
    await shows(rig, b"alice ")
    await rig.client.delete("shown:r")
    here.now += presence.PUBLISH_SECONDS
    await shows(rig, b"alice ")


async def test_a_dead_node_shows_nobody(rig: Rig) -> None:
    dead, here = await rig.member(describe), await rig.member(describe)
    await dead.presence.enter("r", connection("alice"))
    await shows(rig, b"alice ")
    await dead.cut()
    await here.presence.sweep(dead.node.id)
    await shows(rig, None)


async def test_what_changed_without_redis_is_shown_when_it_is_back(rig: Rig) -> None:
    here = await rig.member(describe)
    await here.cut()
    for _ in range(3):
        await here.presence.enter("r", connection("alice"))
    assert here.presence._publication._due == {}  # type: ignore[attr-defined]
    await here.heal()
    await shows(rig, b"alice ")
