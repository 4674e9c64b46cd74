"""What `REDIS_URL` means: how one connection to Redis is made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

CONNECT_SECONDS = 2.0
SENTINEL_PORT = 26379
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

Connect = Callable[[], Awaitable[AbstractConnection]]

#: RESP2: a reply is a reply and a message is a message, whatever the server would push.
_OPTIONS: Mapping[str, Any] = {
    "protocol": 2,
    "socket_timeout": None,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_keepalive": True,
    "driver_info": None,
}


class RedisAway(Exception):
    """Redis cannot be reached, or does not answer in time. What was sent may or may not have been done."""


def connector(url: str) -> Connect:
    """What makes connections to this address. Raises ValueError for what is no such address.

    `redis://`, `rediss://`, `unix://`, and `redis+sentinel://[:password@]host:port,host:port/[db/]service` as
    python-socketio has it. TLS checks the server's certificate only where the address says how
    (`?ssl_cert_reqs=required`, `?ssl_ca_certs=…`): Heroku's are self-signed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"none of {', '.join(SCHEMES)}")
    pool = _sentinel(url) if scheme.endswith("+sentinel") else _plain(url)

    async def connect() -> AbstractConnection:
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, RedisError | OSError | TimeoutError | ssl.SSLError | socket.gaierror):
                raise RedisAway(str(error) or type(error).__name__) from error
            raise
        return connection

    return connect


def _plain(url: str) -> ConnectionPool:
    parts = urlsplit(url)
    options = dict(_OPTIONS)
    if parts.scheme == "rediss" and not {"ssl_cert_reqs", "ssl_ca_certs"} & parse_qs(parts.query).keys():
        options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    if parts.scheme == "unix":
        options = {name: value for name, value in options.items() if name != "socket_keepalive"}
    return ConnectionPool.from_url(url, **options)


def _sentinel(url: str) -> ConnectionPool:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    steps = [step for step in parts.path.split("/") if step]
    database = next((int(step) for step in steps if step.isdigit()), 0)
    service = next((step for step in steps if not step.isdigit()), "mymaster")
    options: dict[str, Any] = dict(_OPTIONS) | {"db": database}
    if password:
        options["password"] = unquote(password)
    if user:
        options["username"] = unquote(user)
    sentinel_options: dict[str, Any] = {"socket_timeout": CONNECT_SECONDS}
    if parts.scheme.startswith("rediss"):
        options |= {"connection_class": SSLConnection, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.partition(":")
        if not name or (port and not port.isdigit()):
            raise ValueError(f"{host!r} is no sentinel's host:port")
        sentinels.append((name, int(port or SENTINEL_PORT)))
    sentinel = Sentinel(sentinels, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    pool: ConnectionPool = sentinel.master_for(service, **options).connection_pool
    return pool


def plain_text(url: str) -> str:
    """The address without its credentials, for people."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
