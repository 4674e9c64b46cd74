from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.namespaces.trading.dialect import TRADING

SAID = {"channel": "general"}


def reply(result: dict[str, Any]) -> Any:
    return orjson.loads(TRADING.reply("subscribe", SAID, result) or "null")


def test_a_subscription() -> None:
    told = reply({"ok": True, "channel": "general", "success": True, "seq": 3, "timestamp": "t"})
    assert told == {
        "type": "subscription_result",
        "channel": "general",
        "success": True,
        "seq": 3,
        "timestamp": "t",
    }


@pytest.mark.parametrize("code", ["FORBIDDEN", "LIMIT_EXCEEDED", "RATE_LIMITED", "INTERNAL"])
def test_one_that_there_is_not(code: str) -> None:
    told = reply({"ok": False, "error": {"code": code, "message": "no"}})
    assert (told["type"], told["channel"], told["success"]) == ("subscription_result", "general", False)
    assert (told["code"], told["message"]) == (code, "no")


def test_one_that_makes_no_sense() -> None:
    told = reply({"ok": False, "error": {"code": "INVALID_MESSAGE", "message": "Channel name required"}})
    assert (told["type"], told["event"], told["message"]) == ("error", "subscribe", "Channel name required")


def test_the_type_of_what_is_published() -> None:
    assert TRADING.heard("publish", {"event": "tick", "data": 1}) == ("publish", {"type": "tick", "data": 1})
