"""An OPC UA server in a thread of its own: built once, stopped and started as tests like."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Coroutine, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Self

import asyncua
from asyncua import ua
from asyncua.common.callback import CallbackType
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.ports import free_port
from tests.support.process import PATIENCE

NAMESPACE = "urn:plant"
USER, PASSWORD = "reader", "right"
_MOST_NODES = ua.NodeId(ua.Int32(ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead))


class _Users:
    """Who gives a name needs the password."""

    def get_user(self, server: object, username: str | None = None, password: str | None = None, **_: Any) -> Any:
        return User(role=UserRole.User) if username is None or (username, password) == (USER, PASSWORD) else None


class _Server(InternalServer):
    """Has what servers have to have, and not the other nine tenths of what is standardised: five seconds less."""

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        for part in ("standard_address_space_services_1", "standard_address_space_services_2"):
            # Its package would import them all.
            path = Path(str(asyncua.__file__)).parent / f"server/standard_address_space/{part}.py"
            spec = spec_from_file_location(part, path)
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(module := module_from_spec(spec))
            getattr(module, f"create_{part.replace('_services', '_Services')}")(self)

    def add_nodes(self, nodes: Any) -> None:
        list(self.node_mgt_service.try_add_nodes(nodes, check=False))

    def add_references(self, references: Any) -> None:
        list(self.node_mgt_service.try_add_references(references))


class OpcUaServer:
    """Holds a variable for each name, in a namespace of its own. Awaited from any loop."""

    def __init__(self, names: Sequence[str], home: Path) -> None:
        self.port = free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self.requests: list[int] = []  # how many nodes each asked for
        self.certificate, self.key = home / "certificate.der", home / "key.pem"
        self._names = names
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        _write_certificate(self.certificate, self.key)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._build(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def start(self) -> None:
        await self._there(self._server.start())

    async def stop(self) -> None:
        """Connections, sessions and all."""
        await self._there(self._server.stop())

    @property
    def connections(self) -> int:
        return len(self._server.bserver.clients)

    def set(self, name: str, value: object, **told: Any) -> None:
        """`told` is what else a DataValue has: StatusCode, SourceTimestamp."""
        answer = ua.DataValue(ua.Variant(value), **told)
        node = ua.NodeId(name, self.namespace)
        space = self._server.iserver.aspace  # to which types do not matter, other than to `write_value`
        space.set_attribute_value_callback(node, ua.AttributeIds.Value, lambda *_: answer)

    async def allow(self, nodes: int) -> None:
        """As many in one request to read; 0 is any number."""
        await self._there(self._server.get_node(_MOST_NODES).write_value(ua.Variant(nodes, ua.VariantType.UInt32)))

    async def _build(self) -> None:
        self._server = server = Server(_Server(_Users()))
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy(
            [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
        )
        await server.load_certificate(self.certificate)
        await server.load_private_key(self.key)
        await server.register_namespace("urn:another")
        self.namespace = await server.register_namespace(NAMESPACE)
        for name in self._names:
            await server.nodes.objects.add_variable(ua.NodeId(name, self.namespace), name, 0)
        server.subscribe_server_callback(CallbackType.PreRead, self._note)
        await server.start()

    async def _note(self, event: Any, _: object) -> None:
        self.requests.append(len(event.request_params.NodesToRead))

    async def _there(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _write_certificate(certificate: Path, key: Path) -> None:
    """One for both sides."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:atrium")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.DER))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
