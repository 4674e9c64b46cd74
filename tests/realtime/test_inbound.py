from __future__ import annotations

import pytest

from server.realtime.limits import Rate
from tests.conftest import Connect
from tests.support.echo import connect_packet, serving
from tests.support.raw import raw_socket


@pytest.mark.parametrize(
    "packet",
    [
        "4",
        "42{}",
        "42[]",
        '42/echo,["x"',
        "44/echo,{}",
        "49",
        '4599-["x"]',
        '451-/echo,["x",{"_placeholder":true,"num":5}]',
        "40/echo,{}",
    ],
)
async def test_who_does_not_speak_socketio_is_closed_and_nobody_else(connect: Connect, packet: str) -> None:
    async with serving() as (server, namespace), raw_socket(server.url) as raw:
        bystander = await connect(server, "/echo", "bob")
        await raw.send(connect_packet())
        await raw.expect("40/echo,")
        await raw.send(packet)
        if packet.startswith("451-"):
            await raw.send(b"attachment")
        await raw.closed()
        await namespace.gone_event.wait()
        assert [each.user_id for each in namespace.connections] == ["bob"]
        assert (await bystander.call("echo", {"text": "x"}))["ok"]


@pytest.mark.parametrize("namespace", ["/echo", "/nowhere"])
async def test_an_event_before_connect_closes(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (server, _), raw_socket(server.url) as raw:
        await raw.send(f'42{namespace},["echo",{{"text":"x"}}]')
        await raw.closed()
    assert not [record for record in caplog.records if record.name == "socketio"]  # it would log a line for each


@pytest.mark.parametrize(
    "payload",
    ['["any",{"value":' + "[" * 5000 + "]" * 5000 + "}]", '["any",{"value":"\\ud800"}]', '["any",{"value":NaN}]'],
)
async def test_a_payload_no_handler_should_see_gets_an_error_and_the_connection_stays(payload: str) -> None:
    async with serving() as (server, _), raw_socket(server.url) as raw:
        await raw.send(connect_packet())
        await raw.expect("40/echo,")
        await raw.send(f"42/echo,1{payload}")
        assert '"INVALID_MESSAGE"' in await raw.expect("43/echo,1")
        await raw.send(f"42/echo,{payload}")
        assert '"INVALID_MESSAGE"' in await raw.expect('42/echo,["error"')
        await raw.send('42/echo,2["echo",{"text":"x"}]')
        assert '"ok":true' in await raw.expect("43/echo,2")


async def test_unusable_payloads_are_counted_and_answered_in_their_turn() -> None:
    async with serving(rates={"events": Rate(2, 60)}) as (server, _), raw_socket(server.url) as raw:
        await raw.send(connect_packet())
        await raw.expect("40/echo,")
        await raw.send('42/echo,1["echo",{"text":"x"}]')
        for number in (2, 3):
            await raw.send(f'42/echo,{number}["any",{{"value":NaN}}]')
        acks = [await raw.expect("43/echo,") for _ in range(3)]
        assert [ack.partition("[")[0] for ack in acks] == ["43/echo,1", "43/echo,2", "43/echo,3"]
        assert "INVALID_MESSAGE" in acks[1]
        assert "RATE_LIMITED" in acks[2]
