"""PYTHON-SOCKETIO.md §3: what a client sends neither hangs, leaks, floods the log nor runs what it should not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from server.realtime.server import Bounds, RealtimeServer
from tests.realtime.inherited.client_frames import masked
from tests.realtime.inherited.wire import (
    connect_packet,
    eventually,
    leaving_nothing,
    poller,
    wire,
)
from tests.support.client import PATIENCE
from tests.support.echo import serving

PLAIN = "/plain"


async def test_bad_packets_by_the_thousand_are_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (server, _), wire(server.url) as one:
        await one.join()
        with structlog.testing.capture_logs() as logs:
            one.writer.write(b"".join(masked(each) for each in ["4", "42{}", "42[]", "4abc", "42/echo,x"] * 200))
            await one.ended()
            await eventually(lambda: not server.realtime.eio.sessions)
        assert len(logs) <= 1
        assert all(entry["log_level"] == "info" for entry in logs)
        assert not caplog.records


async def test_a_post_of_many_packets_is_handled_whole() -> None:
    async with serving() as (server, namespace), poller(server.url) as one:
        await one.join()
        assert await one.post(*(f'42/echo,["note",{{"number":{number}}}]' for number in range(500))) == 200
        await eventually(lambda: len(namespace.order) == 500)
        assert namespace.order == list(range(500))


async def chunks(text: str) -> Any:
    """Sent without saying how much it is."""
    for start in range(0, len(text), 1000):
        yield text[start : start + 1000].encode()


@pytest.mark.parametrize("chunked", [False, True])
async def test_posts_that_are_too_big_neither_hang_nor_leave_a_task(chunked: bool) -> None:
    async with serving(bounds=Bounds(message_bytes=1000)) as (server, namespace), leaving_nothing(server):
        for _ in range(20):
            async with poller(server.url) as one:
                await one.join()
                waiting = asyncio.create_task(one.get())
                session = server.realtime.eio.sessions[one.sid]
                await eventually(lambda session=session: session.polling)
                text = "4" + "x" * 100_000
                async with asyncio.timeout(PATIENCE):
                    async with one.http.post(one.url, data=chunks(text) if chunked else text.encode()) as response:
                        assert response.status == 413
                    assert (await waiting)[0] == 200
        assert namespace.connections == []


@pytest.mark.parametrize(
    "packets",
    [
        [b"nobody asked for it"],
        ['4510-/echo,["any",{"value":1}]', *[b"x"] * 11],  # none of them is placed
        ['451-/echo,["any",{"value":{"_placeholder":true,"num":0}}]', "4not bytes"],
        ['451-/echo,["any",{"value":{"_placeholder":true,"num":0}}]', connect_packet()],
        ['459999999999-/echo,["any",{"value":1}]'],
        ['4511-/echo,["any",{"value":1}]'],
        ['451-/echo,["any",{"value":{"_placeholder":true,"num":0}}]', b"x" * 2000],
    ],
)
async def test_attachments_that_were_not_announced_close(packets: list[str | bytes]) -> None:
    async with (
        serving(bounds=Bounds(message_bytes=1000)) as (server, namespace),
        leaving_nothing(server),
        wire(server.url) as one,
    ):
        await one.join()
        await one.send(*packets)
        await one.ended()
        assert namespace.connections == []


@pytest.mark.parametrize("leave", ["abort", "goodbye", "disconnect"])
async def test_half_an_event_is_dropped_with_its_client(leave: str) -> None:
    header = '4510-/echo,["any",{"value":[' + ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(10)) + "]}]"
    async with serving() as (server, namespace), leaving_nothing(server):
        for _ in range(20):
            async with wire(server.url) as one:
                await one.join()
                await one.send(header, *[b"x" * 60_000] * 9)
                if leave == "abort":
                    await one.writer.drain()
                    one.abort()
                else:
                    await one.send("1" if leave == "goodbye" else "41/echo,")
                    await one.ended()
        await eventually(lambda: not namespace.connections)


async def test_a_reader_that_does_not_read_gains_nothing_by_sending_pongs() -> None:
    """It looks alive, so no heartbeat ends it: its outbox does, before it has grown."""
    bounds = Bounds(outbox_bytes=200_000, outbox_messages=100_000)
    async with serving(bounds=bounds, ping_interval=0.05) as (server, namespace), wire(server.url) as silent:
        await silent.join()
        sent = 0
        while namespace.connections:
            await namespace.emit("flood", {"text": "x" * 10_000}, room="everyone")
            sent += 10_000
            silent.writer.write(masked("3"))
            await asyncio.sleep(0.001)
            assert sent < 50_000_000  # the kernel's buffers hold some
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["transport error"]


async def test_lifecycle_names_are_no_events_whatever_handlers_there_are() -> None:
    ran: list[tuple[str, object]] = []
    async with serving() as (server, _), wire(server.url) as one:
        realtime: RealtimeServer = server.realtime
        for name in ("connect", "disconnect", "other"):
            realtime.on(name, lambda sid, *arguments, name=name: ran.append((name, arguments[-1])), namespace=PLAIN)
        await one.send(f"40{PLAIN},{{}}")
        await one.expect(f"40{PLAIN},")
        for name in ("connect", "disconnect", "connect_error", "__disconnect_final", "other"):
            await one.send(f'42{PLAIN},["{name}","forged",{{"token":"forged"}}]')
        await eventually(lambda: ran[-1][0] == "other")
        assert [name for name, _ in ran] == ["connect", "other"]


async def test_a_plain_handler_that_raises_is_logged_and_the_connection_goes_on() -> None:
    async with serving() as (server, _), wire(server.url) as one:
        realtime: RealtimeServer = server.realtime

        async def boom(sid: str) -> None:
            raise RuntimeError("secret detail")

        realtime.on("boom", boom, namespace=PLAIN)
        realtime.on("fine", lambda sid: "fine", namespace=PLAIN)
        await one.send(f"40{PLAIN},")
        await one.expect(f"40{PLAIN},")
        with structlog.testing.capture_logs() as logs:
            await one.send(f'42{PLAIN},1["boom"]', f'42{PLAIN},2["fine"]')
            assert await one.expect(f"43{PLAIN},2") == f'43{PLAIN},2["fine"]'
        assert [entry["log_level"] for entry in logs if "exc_info" in entry] == ["error"]


async def test_events_of_a_plain_handler_are_in_order_though_they_wait() -> None:
    order: list[int] = []
    async with serving() as (server, _), wire(server.url) as one:

        async def slow(sid: str, number: int) -> None:
            for _ in range(5 - number):
                await asyncio.sleep(0)
            order.append(number)

        server.realtime.on("slow", slow, namespace=PLAIN)
        await one.send(f"40{PLAIN},")
        await one.expect(f"40{PLAIN},")
        await one.send(*(f'42{PLAIN},["slow",{number}]' for number in range(5)))
        await eventually(lambda: len(order) == 5)
        assert order == list(range(5))


async def test_a_client_may_be_asked_while_its_handler_runs() -> None:
    """In order, and yet acks and pongs pass: stock has the one or the other."""
    async with (
        serving(ping_interval=0.05, ping_timeout=0.5, most_missed_pongs=1) as (server, namespace),
        wire(server.url) as one,
    ):
        await one.join()
        answered = asyncio.Event()

        async def on_ack(*arguments: object) -> None:
            answered.set()

        await one.send('42/echo,["wait",{"number":1}]')
        await namespace.entered.wait()
        [connection] = namespace.connections
        server.realtime.request(connection, "question", {}, on_ack)
        question = await one.expect("42/echo,")
        await one.send(f"43/echo,{question[8:].partition('[')[0]}[1]")
        await answered.wait()
        assert namespace.order == []
