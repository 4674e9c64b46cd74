from __future__ import annotations

import random

import pytest

from clients.python.policy import POLICIES, ReconnectPolicy, choose


def delays(policy: ReconnectPolicy, most: int = 20) -> list[float]:
    chance, found = random.Random(1), []  # noqa: S311
    for failed in range(most):
        delay = policy.delay(failed, chance)
        if delay is None:
            break
        found.append(delay)
    return found


def test_the_seeds() -> None:
    assert delays(POLICIES["copilot"]) == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert delays(POLICIES["bank"]) == [1, 2, 4, 8, 16]
    assert delays(POLICIES["monitor"]) == [3, 3, 3, 3, 3]
    assert delays(POLICIES["none"]) == []


def test_the_default_never_gives_up_and_is_spread() -> None:
    chance = random.Random(1)  # noqa: S311
    assert POLICIES["default"].delay(10**6, chance) is not None
    firsts = {POLICIES["default"].delay(0, chance) for _ in range(100)}
    assert len(firsts) == 100
    assert all(each is not None and 0.5 <= each <= 1 for each in firsts)


def test_each_namespace_has_its_seeds() -> None:
    assert choose(None, "/monitor") is POLICIES["monitor"]
    assert choose(None, "/another") is POLICIES["default"]
    assert choose("bank", "/monitor") is POLICIES["bank"]
    own = ReconnectPolicy(first=1)
    assert choose(own, "/monitor") is own
    with pytest.raises(ValueError, match="copilot, bank, monitor"):
        choose("sometimes", "/chat")
