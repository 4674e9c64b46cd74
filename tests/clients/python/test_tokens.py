from __future__ import annotations

import pytest

from clients.python.errors import NotConnected
from clients.python.tokens import TokenSource, development_token, subject
from tests.conftest import Serve
from tests.support.running import token


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
    assert caught.value.code == "TOKEN_UNAVAILABLE"


async def test_who_it_is_for() -> None:
    assert TokenSource(token("alice")).user_id == "alice"
    source = TokenSource(lambda: token("김철수"))
    assert source.user_id is None
    await source.get()
    assert source.user_id == "김철수"
    for nonsense in (None, "", "garbage", "a.b.c", "a.W10.c", "a.e30.c", "a." + "\u00e9" * 4 + ".c"):
        assert subject(nonsense) is None


async def test_only_a_server_under_debug_mints(serve: Serve) -> None:
    assert await development_token((await serve()).url, "alice", ("admin",))
    assert await development_token((await serve(DEBUG="false")).url, "alice") is None
    assert await development_token("http://127.0.0.1:9", "alice") is None
