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
