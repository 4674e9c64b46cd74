from __future__ import annotations

import asyncio

import pytest

from server.namespaces.chat.locks import Locks


async def test_those_who_wait_are_let_in_in_order_and_nothing_is_kept() -> None:
    locks, order = Locks(), []

    async def enter(number: int) -> None:
        async with locks.hold("s1"):
            order.append(f"{number} in")
            await asyncio.sleep(0)
            order.append(f"{number} out")

    await asyncio.gather(*(enter(number) for number in range(3)))
    assert order == ["0 in", "0 out", "1 in", "1 out", "2 in", "2 out"]
    assert len(locks) == 0


async def test_names_do_not_wait_for_each_other() -> None:
    locks = Locks()
    async with locks.hold("s1"), locks.hold("s2"):
        assert len(locks) == 2
    assert len(locks) == 0


async def test_an_error_lets_go() -> None:
    locks = Locks()

    async def fail() -> None:
        async with locks.hold("s1"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert len(locks) == 0


async def test_one_who_gives_up_waiting_is_forgotten() -> None:
    locks = Locks()
    async with locks.hold("s1"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), locks.hold("s1"):
                pass
        assert len(locks) == 1
    assert len(locks) == 0


async def test_many_share_and_one_holds_in_the_order_they_came() -> None:
    locks, order = Locks(), []

    async def hold(name: str) -> None:
        async with locks.hold("s1"):
            order.append(name)

    async def share(name: str) -> None:
        await locks.share("s1")
        order.append(name)

    await share("a")
    await share("b")
    waiting = [asyncio.create_task(each) for each in (hold("c"), share("d"), share("e"), hold("f"))]
    await asyncio.sleep(0)
    assert order == ["a", "b"]
    locks.leave("s1")
    assert order == ["a", "b"]
    locks.leave("s1")
    await asyncio.gather(*waiting[:3])
    assert order == ["a", "b", "c", "d", "e"]
    locks.leave("s1")
    locks.leave("s1")
    await asyncio.gather(*waiting)
    assert order[-1] == "f"
    assert len(locks) == 0


async def test_one_who_gives_up_just_when_it_is_let_in() -> None:
    locks = Locks()
    async with locks.hold("s1"):
        unlucky, next_one = (asyncio.create_task(locks.share("s1")) for _ in range(2))
        await asyncio.sleep(0)
    unlucky.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlucky
    await next_one
    locks.leave("s1")
    assert len(locks) == 0
