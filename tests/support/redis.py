"""A Redis of the test's own, as a real process that can be stopped, killed, frozen, and started again empty."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import signal
import ssl
import tempfile
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, RedisError

from tests.support.ports import free_port
from tests.support.process import PATIENCE

SERVICE = "atrium-test"  # the name under which Sentinel knows the master
HOST = "127.0.0.1"


class RedisServer:
    """One Redis: plain, with a `password`, over `tls` (self-signed), as a `cluster` of this one node, or found through
    a `sentinel`, which itself takes plain connections without a password. Empty at every start; its port stays."""

    def __init__(
        self,
        *,
        password: str = "",
        tls: bool = False,
        cluster: bool = False,
        sentinel: bool = False,
        database: int = 0,
    ) -> None:
        self.port = free_port()
        self.sentinel_port = free_port() if sentinel else None
        self._password = password
        self._tls = tls
        self._cluster = cluster
        self._database = database
        self._home = Path(tempfile.mkdtemp(prefix="atrium-redis-"))
        self._process: asyncio.subprocess.Process | None = None
        self._sentinel: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return self.url_on(self.port)

    def url_on(self, port: int) -> str:
        """Its URL by way of another port, such as a proxy's."""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://{self._credentials}{HOST}:{port}/{self._database}"

    @property
    def sentinel_url(self) -> str:
        assert self.sentinel_port is not None
        scheme = "rediss+sentinel" if self._tls else "redis+sentinel"
        return f"{scheme}://{self._credentials}{HOST}:{self.sentinel_port}/{self._database}/{SERVICE}"

    @property
    def _credentials(self) -> str:
        return f":{self._password}@" if self._password else ""

    def client(self) -> Redis:
        """For the test itself; its caller closes it."""
        options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_NONE} if self._tls else {}
        return Redis.from_url(self.url, **options)

    async def __aenter__(self) -> Self:
        if self._tls:
            _certify(self._home)
        try:
            await self.start()
            if self.sentinel_port is not None:
                await self._start_sentinel(self.sentinel_port)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (self._sentinel, self._process):
            await _end(process, signal.SIGKILL)
        shutil.rmtree(self._home)

    async def start(self) -> None:
        """Returns once it answers. Raises RuntimeError when it ends instead."""
        assert self._process is None, "it runs"
        (self._home / "nodes.conf").unlink(missing_ok=True)
        options = ["--save", "", "--appendonly", "no"]
        if self._tls:
            options += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            options += ["--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem"]
        else:
            options += ["--port", str(self.port)]
        if self._password:
            options += ["--requirepass", self._password, "--masterauth", self._password]
        if self._cluster:
            options += ["--cluster-enabled", "yes", "--cluster-announce-ip", HOST]
            options += ["--cluster-port", str(free_port())]  # else its port + 10,000, which may be too high
        self._process = await self._spawn(*options)
        async with self.client() as client:
            await self._answers(client, self._process)
            if self._cluster:
                await _take_all_slots(client)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """A black hole: connections stay, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        await _end(process, number)

    async def _start_sentinel(self, port: int) -> None:
        lines = [f"port {port}", f"sentinel monitor {SERVICE} {HOST} {self.port} 1"]
        if self._password:
            lines.append(f"sentinel auth-pass {SERVICE} {self._password}")
        if self._tls:
            lines += ["tls-replication yes", "tls-ca-cert-file certificate.pem"]
        configuration = self._home / "sentinel.conf"  # it rewrites it
        configuration.write_text("\n".join(lines) + "\n")
        self._sentinel = await self._spawn(str(configuration), "--sentinel")
        async with Redis(host=HOST, port=port) as client:
            await self._answers(client, self._sentinel, "SENTINEL", "CKQUORUM", SERVICE)  # busy with its file till then

    async def _spawn(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "redis-server",
            *arguments,
            cwd=self._home,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    async def _answers(self, client: Redis, process: asyncio.subprocess.Process, *command: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await client.execute_command(*(command or ("PING",)))
                except (RedisError, OSError):
                    if process.returncode is not None:
                        raise RuntimeError(f"redis-server ended with {process.returncode}") from None
                    await asyncio.sleep(0.01)  # nothing announces that it listens
                else:
                    return


async def _end(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    if process is None:
        return
    if process.returncode is None:
        process.send_signal(number)
    await process.wait()


async def _take_all_slots(client: Redis) -> None:
    await client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.get("any")
            except ClusterDownError:
                await asyncio.sleep(0.01)  # nothing announces that it is up
            else:
                return


def _certify(home: Path) -> None:
    """A certificate that signs itself, as Heroku's Redis has one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "atrium test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (home / "certificate.pem").write_bytes(certificate.public_bytes(encoding))
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (home / "key.pem").write_bytes(private)
