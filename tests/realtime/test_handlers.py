from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from server.realtime.handlers import environ
from server.realtime.server import RealtimeServer
from tests.realtime.inherited.wire import Wire, wire


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[RealtimeServer, str]]:
    realtime = RealtimeServer()
    app = web.Application()
    realtime.attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield realtime, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await realtime.stop()
        await runner.cleanup()


async def answers(one: Wire, *events: list[object]) -> list[object]:
    """What each event is acked with; None where the ack of a later one came first."""
    await one.send(*[f"42{number}{json.dumps(event)}" for number, event in enumerate([*events, ["fence"]])])
    acked: dict[int, object] = {}
    while len(events) not in acked:
        number, _, rest = (await one.expect("43"))[2:].partition("[")
        acked[int(number)] = json.loads(f"[{rest}")
    return [acked.get(number) for number in range(len(events))]


async def fence(sid: str) -> bool:
    """What is acked before it was handled before it."""
    return True


@pytest.mark.parametrize(
    ("result", "ack"),
    [
        (None, None),
        ((), []),
        ("text", ["text"]),
        (False, [False]),
        (0, [0]),
        ([], [[]]),
        ([1, 2], [[1, 2]]),
        ((1, 2), [1, 2]),
        ((None,), [None]),
        ({"ok": True}, [{"ok": True}]),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_handler_returns_is_the_ack(result: object, ack: object, is_async: bool) -> None:
    heard: list[tuple[object, ...]] = []

    def handle(*arguments: object) -> object:
        heard.append(arguments)
        return result

    async def handle_later(*arguments: object) -> object:
        return handle(*arguments)

    async with serving() as (realtime, url), wire(url) as one:
        realtime.on("ask", handle_later if is_async else handle)
        realtime.on("fence", fence)
        await one.send("40")
        sid = json.loads((await one.expect("40"))[2:])["sid"]
        with structlog.testing.capture_logs() as logs:
            assert await answers(one, ["ask", 1, {"two": 3}], ["unknown"]) == [ack, None]
        assert logs == []
        assert heard == [(sid, 1, {"two": 3})]


async def test_one_handler_for_all_events_but_those_that_clients_must_not_send() -> None:
    connects: list[str] = []
    async with serving() as (realtime, url), wire(url) as one:
        realtime.on("connect", lambda sid, environ: connects.append(sid))
        realtime.on("disconnect", lambda sid, reason: connects.clear())
        realtime.on("*", lambda event, sid, *arguments: (event, *arguments))
        realtime.on("fence", fence)
        await one.send("40")
        assert await answers(one, ["anything", 1], ["connect", {}], ["disconnect", "forged"]) == [
            ["anything", 1],
            None,
            None,
        ]
        assert len(connects) == 1


async def test_a_class_of_handlers() -> None:
    class Class(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
            assert environ["aiohttp.request"].path == "/socket.io/"
            await self.save_session(sid, {"auth": auth})

        async def on_who(self, sid: str) -> object:
            return (await self.get_session(sid))["auth"]

        on_fence = staticmethod(fence)

    async with serving() as (realtime, url):
        realtime.register_namespace(Class("/"))
        async with wire(url) as one:
            await one.send('40{"user":"alice"}')
            assert await answers(one, ["who"], ["unknown"]) == [[{"user": "alice"}], None]


async def _anyone(sid: str, environ: object) -> None: ...


async def _refuses(sid: str, environ: object) -> bool:
    return False


async def _returns_what_is_not_quite_false(sid: str, environ: object, auth: object) -> object:
    return 0 if auth == {"a": 1} else False


async def _says_why(sid: str, environ: object, auth: object = None) -> None:
    raise socketio.exceptions.ConnectionRefusedError("not you", {"code": 7})


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        (None, '40{"sid":'),
        (_anyone, '40{"sid":'),
        (_returns_what_is_not_quite_false, '40{"sid":'),
        (_refuses, '44{"message":"Connection rejected by server"}'),
        (_says_why, '44{"message":"not you","data":{"code":7}}'),
    ],
)
async def test_who_may_connect(handler: Any, answer: str) -> None:
    async with serving() as (realtime, url), wire(url) as one:
        realtime.on("fence", fence)
        if handler is not None:
            realtime.on("connect", handler)
        await one.send('40{"a":1}')
        assert (await one.expect("4")).startswith(answer)
        assert len(realtime.manager) == (1 if answer.startswith("40") else 0)


@pytest.mark.parametrize(("sent", "given"), [("40", None), ("40{}", None), ('40{"a":1}', {"a": 1})])
async def test_auth_is_what_the_client_sent(sent: str, given: object) -> None:
    heard: list[object] = []
    async with serving() as (realtime, url), wire(url) as one:
        realtime.on("connect", lambda sid, environ, auth: heard.append(auth))
        await one.send(sent)
        await one.expect("40")
    assert heard == [given]


async def test_a_handler_that_raises_acks_nothing_and_the_next_event_is_handled() -> None:
    async with serving() as (realtime, url), wire(url) as one:
        realtime.on("bad", lambda sid: 1 / 0)
        realtime.on("fence", fence)
        await one.send("40")
        with structlog.testing.capture_logs() as logs:
            assert await answers(one, ["bad"], ["bad", "with too much"]) == [None, None]
        assert [(entry["event"], entry["event_name"]) for entry in logs] == [("handler failed", "bad")] * 2


def test_a_request_as_wsgi_names_it() -> None:
    request = make_mocked_request("GET", "/socket.io/?EIO=4&token=x", headers={"X-Forwarded-For": "1.2.3.4"})
    named = environ(request)
    assert {name: named[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_FORWARDED_FOR")} == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/socket.io/",
        "QUERY_STRING": "EIO=4&token=x",
        "HTTP_X_FORWARDED_FOR": "1.2.3.4",
    }
    assert named["aiohttp.request"] is request
