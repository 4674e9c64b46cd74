from __future__ import annotations

import pytest
import socketio

from server.auth.tokens import mint
from server.parts import development_mint
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.key_server import KeyServer
from tests.support.running import settings

NAMESPACES = ["/chat", "/trading", "/monitor", "/copilot"]


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_every_namespace_is_served_and_greets(serve: Serve, connect: Connect, namespace: str) -> None:
    server = await serve()
    client = await connect(server, namespace, "alice")
    await client.expect("connection_status" if namespace == "/monitor" else "connected")
    assert (await client.call("ping", {"timestamp": 1}))["timestamp"] == 1


async def test_one_transport_carries_them_all(serve: Serve) -> None:
    server = await serve(WS_MAX_CONNECTIONS=1)
    client = socketio.AsyncClient(reconnection=False)
    token = development_mint(settings())("alice", [], None)
    await client.connect(server.url, namespaces=NAMESPACES, auth={"token": token}, transports=["websocket"])
    for namespace in NAMESPACES:
        assert (await client.call("ping", {}, namespace=namespace))["ok"]
    await client.disconnect()


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_only_the_monitor_needs_no_token(serve: Serve, namespace: str) -> None:
    server = await serve()
    client = Client(namespace)
    if namespace == "/monitor":
        await client.connect(server.url)
    else:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(server.url)
    await client.close()


async def test_tokens_of_an_issuer_with_public_keys(serve: Serve, connect: Connect) -> None:
    issuer = KeyServer()
    issuer.add_rsa("one")
    issuer.add_ec("two")
    await issuer.start()
    server = await serve(DEBUG="false", JWT_SECRET_KEY="", JWT_JWKS_URL=issuer.url, JWT_ISSUER="https://sso.example")
    for kid in ("one", "two"):
        signed = issuer.sign(kid, "carol", iss="https://sso.example")
        client = await connect(server, "/trading", auth={"token": signed})
        assert (await client.expect("connected"))["user_id"] == "carol"
    forged = mint("x" * 40, "carol", issuer="https://sso.example")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await connect(server, "/trading", auth={"token": forged})
    await issuer.stop()
