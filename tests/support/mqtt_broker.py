"""An MQTT broker on the test's own loop, on one port: published to, stopped, and started again empty."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any, Self

from amqtt.broker import Broker
from amqtt.client import MQTTClient
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.ports import free_port

USER, PASSWORD = "reader", "right"
SECRET = "secret/"  # topics that nobody may subscribe to
_HERE = "tests.support.mqtt_broker"


class Users(BaseAuthPlugin):
    """Who gives a name needs the password."""

    async def authenticate(self, *, session: Any) -> bool:
        return session.username is None or (session.username, session.password) == (USER, PASSWORD)


class Topics(BaseTopicPlugin):
    async def topic_filtering(self, *, session: Any = None, topic: str | None = None, action: Any = None) -> bool:
        return action != Action.SUBSCRIBE or not (topic or "").startswith(SECRET)


class MqttBroker:
    """With a `home` for its certificate it speaks TLS."""

    def __init__(self, home: Path | None = None) -> None:
        self.port = free_port()
        listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
        if home is not None:
            certificate, key = _certify(home)
            listener |= {"ssl": True, "certfile": str(certificate), "keyfile": str(key)}
        self._home = home
        self._config = {"listeners": {"default": listener}, "plugins": {f"{_HERE}.Users": {}, f"{_HERE}.Topics": {}}}
        self._broker: Broker | None = None
        self._publisher: MQTTClient | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._broker = Broker(self._config)
        await self._broker.start()

    async def stop(self) -> None:
        """It hangs up on everybody."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.disconnect()
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.shutdown()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the broker has it, not when everybody else does."""
        if self._publisher is None:
            self._publisher = MQTTClient(config={"auto_reconnect": False})
            scheme, cafile = ("mqtt", None) if self._home is None else ("mqtts", str(self._home / "certificate.pem"))
            await self._publisher.connect(f"{scheme}://127.0.0.1:{self.port}/", cafile=cafile)
        await self._publisher.publish(topic, payload, qos=1, retain=retain)

    @property
    def clients(self) -> list[str]:
        """Who is connected, by client id; without who publishes."""
        assert self._broker is not None
        sessions = [session for session, _ in self._broker._sessions.values()]
        here = [each.client_id for each in sessions if each.transitions.state == "connected"]
        return [client_id for client_id in here if client_id.startswith("atrium")]


def _certify(home: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate, key = home / "certificate.pem", home / "key.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    certificate.write_bytes(signed.public_bytes(pem))
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return certificate, key
