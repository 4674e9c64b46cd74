from __future__ import annotations

import pytest

from clients.python.errors import NotConnected
from clients.python.tokens import TokenSource, development_token
from tests.conftest import Serve


async def test_a_text_and_callbacks() -> None:
    async def later() -> str:
        return "later"

    assert [await TokenSource(each).get() for each in ("text", None, lambda: "now", later)] == [
        "text",
        None,
        "now",
        "later",
    ]
    assert [TokenSource(each).renews for each in ("text", None, later)] == [False, False, True]


async def test_a_callback_that_fails_is_no_connection() -> None:
    def fail() -> str:
        raise OSError("the issuer is away")

    with pytest.raises(NotConnected, match="the issuer is away") as caught:
        await TokenSource(fail).get()
    assert caught.value.code == "TOKEN_CALLBACK"


async def test_only_a_server_under_debug_mints(serve: Serve) -> None:
    assert await development_token((await serve()).url, "alice", ("admin",))
    assert await development_token((await serve(DEBUG="false")).url, "alice") is None
    assert await development_token("http://127.0.0.1:9", "alice") is None
