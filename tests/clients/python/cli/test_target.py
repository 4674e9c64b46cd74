from __future__ import annotations

import asyncio
import json

import pytest

from clients.python.cli.target import Target, brief, first
from clients.python.policy import POLICIES


def test_scripts_end_with_the_connection_and_a_name_says_otherwise() -> None:
    assert Target("http://h", "t").client()._policy == "none"
    assert Target("http://h", "t", "bank").client()._policy == "bank"
    assert not Target("http://h", "t").client()._allow_fallback
    assert all(Target("http://h", "t", name).client() for name in POLICIES)


def test_a_token_is_minted_anew_at_each_connect() -> None:
    assert callable(Target("http://h", None).credentials())
    assert Target("http://h", "t").credentials() == "t"


async def test_the_first_that_ends_ends_the_others() -> None:
    never = asyncio.create_task(asyncio.Event().wait())
    await first(never, asyncio.sleep(0))
    assert never.cancelled()

    async def fail() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await first(asyncio.Event().wait(), fail())


def test_json_is_short_and_readable() -> None:
    assert brief({"a": "안녕"}) == '{"a":"안녕"}'
    evil = {"a": "\x9b\x1b\x7f\ud800\U000e0001"}
    assert brief(evil).isprintable()
    assert json.loads(brief(evil)) == evil
