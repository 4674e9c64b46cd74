"""What happens while a client comes back, or to who comes back in an unlucky moment."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from server.realtime import entrance, recovery
from server.realtime.connection import Connection
from server.realtime.rooms import room_name
from server.realtime.server import Bounds
from tests.support import echo
from tests.support.client import PATIENCE
from tests.support.echo import EchoNamespace
from tests.support.managers import Serving
from tests.support.raw import POLLING, RawSocket, raw_socket
from tests.support.recovering import abort, auth, client, raw_connect
from tests.support.running import token

ROOM = room_name(None, "numbered", "1")


async def dropped(server: Any, namespace: EchoNamespace) -> dict[str, Any]:
    """What a client knows that was in a room and is gone."""
    async with raw_socket(server.url) as raw:
        known = await raw_connect(raw, namespace.path)
        await raw.send(f'42{namespace.path},1["enter",{{"number":1}}]')
        await raw.expect(f"43{namespace.path},1")
    await gone(namespace)
    return known


async def gone(namespace: EchoNamespace) -> None:
    async with asyncio.timeout(PATIENCE):
        await namespace.gone_event.wait()
    namespace.gone_event.clear()


async def numbers(raw: RawSocket, count: int) -> list[int]:
    return [json.loads((await raw.expect('42/echo,["news"'))[8:])[1]["n"] for _ in range(count)]


async def test_what_is_sent_while_it_is_admitted_follows_in_order(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        known = await dropped(server, namespace)

        async def recovered(connection: Connection) -> None:
            for number, room in enumerate((ROOM, connection.id, ROOM, connection.id)):
                server.realtime.deliver("/echo", "news", {"n": number}, room=room)
            await server.realtime.emit("news", {"n": 4}, namespace="/echo", to=[connection.id])

        namespace.recovered = recovered  # type: ignore[method-assign]
        async with raw_socket(server.url) as raw:
            assert await raw_connect(raw, pid=known["pid"]) == known
            assert await numbers(raw, 5) == [0, 1, 2, 3, 4]


async def test_more_than_an_outbox_holds_is_not_lost_while_it_is_admitted(serving: Serving) -> None:
    bounds = Bounds(outbox_messages=10)
    async with serving(bounds=bounds, recovery=recovery.Bounds()) as (server, namespace):
        known = await dropped(server, namespace)

        async def recovered(connection: Connection) -> None:
            if not server.realtime.eio.counters.too_slow:
                for number in range(30):
                    server.realtime.deliver("/echo", "news", {"n": number}, room=connection.id)

        namespace.recovered = recovered  # type: ignore[method-assign]
        async with raw_socket(server.url) as raw:
            assert await raw_connect(raw, pid=known["pid"]) == known
            assert await numbers(raw, 30) == list(range(30))


@pytest.mark.parametrize("missed", [(60, 0), (60, 3), (3, 60), (60, 60)])
async def test_two_namespaces_of_one_client(serving: Serving, missed: tuple[int, int]) -> None:
    """Each missed more than an outbox holds."""
    async with serving(bounds=Bounds(outbox_messages=20), recovery=recovery.Bounds()) as (server, one):
        other = EchoNamespace()
        other.path = "/other"
        server.realtime.add(other)
        known = {each.path: await dropped(server, each) for each in (one, other)}
        for (path, session), count in zip(known.items(), missed, strict=True):
            for number in range(count):
                server.realtime.deliver(path, "news", {"n": number}, room=session["sid"])
        async with aiohttp.ClientSession() as http:
            handshake = await (await http.get(server.url + POLLING)).text()
            url = f"{server.url}{POLLING}&sid={json.loads(handshake[1:])['sid']}"
            connects = [f"40{path},{json.dumps(auth(pid=session['pid']))}" for path, session in known.items()]
            await http.post(url, data="\x1e".join(connects))
            heard: list[str] = []
            while sum('"news"' in packet for packet in heard) < sum(missed):
                response = await http.get(url)
                assert response.status == 200, await response.text()
                heard += (await response.text()).split("\x1e")
            assert server.realtime.eio.counters.too_slow == 0


async def test_who_is_gone_again_before_it_was_admitted_has_left(serving: Serving) -> None:
    """A namespace hears of its end as it heard of its return; and it may come back once more."""
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        known = await dropped(server, namespace)
        came, gate = asyncio.Event(), asyncio.Event()

        async def recovered(connection: Connection) -> None:
            came.set()
            await gate.wait()

        namespace.recovered = recovered  # type: ignore[method-assign]
        async with raw_socket(server.url) as raw:
            await raw.send(f"40/echo,{json.dumps(auth(pid=known['pid']))}")
            await came.wait()
            await abort(server)
            while server.realtime.eio.sessions:  # noqa: ASYNC110 - nobody is told before it is admitted
                await asyncio.sleep(0.01)
            gate.set()
            await gone(namespace)
        async with raw_socket(server.url) as raw:
            assert await raw_connect(raw, pid=known["pid"]) == known


async def test_who_is_back_before_its_loss_was_noticed_goes_on(serving: Serving, settled: None) -> None:
    """Its old connection answers no ping. What was written to that one is replayed."""
    async with serving(recovery=recovery.Bounds()) as (server, namespace), raw_socket(server.url) as lost:
        known = await raw_connect(lost)
        await lost.send('42/echo,1["enter",{"number":1}]')
        await lost.expect("43/echo,1")
        server.realtime.deliver("/echo", "news", {"n": 1}, room=ROOM)
        async with raw_socket(server.url) as raw:
            await raw.send(f"40/echo,{json.dumps(auth(pid=known['pid']))}")
            assert await numbers(raw, 1) == [1]
            assert json.loads((await raw.expect("40/echo,")).partition(",")[2]) == known
            server.realtime.deliver("/echo", "news", {"n": 2}, room=ROOM)
            assert await numbers(raw, 1) == [2]
            assert await lost.closed() == 4009
            assert len(namespace.connections) == len(namespace.gone_reasons) == 1


async def test_who_is_there_keeps_its_session(serving: Serving, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "ANSWER_SECONDS", PATIENCE)
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        async with raw_socket(server.url) as raw:
            other = await raw_connect(raw, pid=first["pid"])
            assert (other["sid"] == first["id"], other["pid"] == first["pid"]) == (False, False)
        await gone(namespace)
        await alice.settle()
        assert [each.id for each in namespace.connections] == [first["id"]]


async def test_another_user_cannot_have_somebody_tested(serving: Serving, settled: None) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, _), raw_socket(server.url) as silent:
        known = await raw_connect(silent)
        async with raw_socket(server.url) as raw:
            fresh = await raw_connect(raw, pid=known["pid"], token=token("mallory"))
            assert not fresh.items() & known.items()
        await silent.send('42/echo,1["ping",{}]')
        await silent.expect("43/echo,1")


async def test_it_waits_for_what_its_old_connection_still_does(serving: Serving) -> None:
    """A namespace hears that it left before it hears that it is back."""
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
            await raw.send('42/echo,["wait",{"number":1}]')
            await namespace.entered.wait()
        before: list[tuple[list[int], int]] = []

        async def recovered(connection: Connection) -> None:
            before.append((list(namespace.order), len(namespace.gone_reasons)))

        namespace.recovered = recovered  # type: ignore[method-assign]
        async with asyncio.timeout(PATIENCE):
            while server.realtime.manager.member(known["sid"], "/echo") is not None:  # noqa: ASYNC110 - it is noticed
                await asyncio.sleep(0.01)
            async with raw_socket(server.url) as raw:
                coming = asyncio.create_task(raw_connect(raw, pid=known["pid"]))
                while server.realtime.manager.member(known["sid"], "/echo") is None:  # noqa: ASYNC110 - it is coming
                    await asyncio.sleep(0.01)
                namespace.gate.set()
                assert await coming == known
        assert before == [([1], 1)]


async def test_what_handlers_kept_of_it_is_still_there(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
            await server.realtime.save_session(known["sid"], {"cart": ["book"]}, namespace="/echo")
        await gone(namespace)
        async with raw_socket(server.url) as raw:
            assert await raw_connect(raw, pid=known["pid"]) == known
            assert await server.realtime.get_session(known["sid"], namespace="/echo") == {"cart": ["book"]}


async def test_an_offset_of_an_earlier_log_hides_nothing() -> None:
    """The stock client keeps its offset when it gets a fresh session, until it is given a newer one."""
    now = 0.0
    async with echo.serving(recovery=recovery.Bounds(), clock=lambda: now) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
            for number in range(50):
                server.realtime.deliver("/echo", "news", {"n": number}, room=known["sid"])
            await numbers(raw, 49)
            offset = json.loads((await raw.expect('42/echo,["news"'))[8:])[-1]
        await gone(namespace)
        now = 1000.0
        server.realtime.manager.prune()
        async with raw_socket(server.url) as raw:
            fresh = await raw_connect(raw, pid=known["pid"], offset=offset)
        await gone(namespace)
        for number in range(100):
            server.realtime.deliver("/echo", "news", {"n": number}, room=fresh["sid"])
        async with raw_socket(server.url) as raw:
            await raw.send(f"40/echo,{json.dumps(auth(pid=fresh['pid'], offset=offset))}")
            heard = []
            while not (packet := await raw.expect("4")).startswith("40"):
                heard.append(packet)
            resumed = json.loads(packet.partition(",")[2]) == fresh
            assert len([each for each in heard if '"news"' in each]) == (100 if resumed else 0)
