"""What `REDIS_URL` means: how one connection to Redis is made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

CONNECT_SECONDS = 2.0
SENTINEL_SECONDS = 0.5
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

_UNCHECKED: Mapping[str, Any] = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}


class RedisAway(Exception):
    """Redis cannot be reached, or does not answer in time. What was sent may or may not have been done."""


#: A server that is full, loading, or busy will not be for ever (MOVED and the like are not among them).
_PASSING = ("OOM", "LOADING", "MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")


def is_passing(error: BaseException | None) -> bool:
    """Whether what Redis refused may be done later."""
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and str(error).lstrip("-").startswith(_PASSING)
    )


def connector(url: str) -> Connect:
    """What makes connections to this address. Raises ValueError for what is no such address.

    `redis://`, `rediss://`, `unix://`, and `redis+sentinel://[:password@]host:port,host:port/[db/]service` as
    python-socketio has it. TLS checks the server's certificate only where the address says how
    (`?ssl_cert_reqs=required`, `?ssl_ca_certs=…`): Heroku's are self-signed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"none of {', '.join(SCHEMES)}")
    try:
        pool, sentinels = _sentinel(url) if scheme.endswith("+sentinel") else (_plain(url), [])
        pool.make_connection()  # it looks at the options; nothing is connected
    except (TypeError, RedisError) as error:
        raise ValueError(str(error)) from None

    async def connect() -> AbstractConnection:
        connection: AbstractConnection = pool.make_connection()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, RedisError | OSError | TimeoutError | ssl.SSLError | socket.gaierror):
                raise RedisAway(str(error) or type(error).__name__) from error
            raise
        finally:
            for each in sentinels:  # they are asked anew for each connection
                await each.connection_pool.disconnect()
        return connection

    return connect


def _checks_certificate(query: str) -> bool:
    return not {"ssl_cert_reqs", "ssl_ca_certs"}.isdisjoint(parse_qs(query))


def _plain(url: str) -> ConnectionPool:
    parts = urlsplit(url)
    options = dict(_OPTIONS)
    if parts.scheme == "rediss" and not _checks_certificate(parts.query):
        options |= _UNCHECKED
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ValueError("the path is a database's number")
    if parts.scheme == "unix":
        options = {name: value for name, value in options.items() if name != "socket_keepalive"}
    return ConnectionPool.from_url(url, **options)


def _sentinel(url: str) -> tuple[ConnectionPool, list[Any]]:
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
    # One that is dead is passed over at once: the others are asked within the time for a connection.
    sentinel_options: dict[str, Any] = {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if parts.scheme.startswith("rediss"):
        options |= {"connection_class": SSLConnection, **(_UNCHECKED if not _checks_certificate(parts.query) else {})}
    options |= {name: values[0] for name, values in parse_qs(parts.query).items()}
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.partition(":")
        if not name or (port and not (port.isdigit() and int(port) < 65536)):
            raise ValueError("a sentinel's host:port")
        sentinels.append((name, int(port or SENTINEL_PORT)))
    sentinel = Sentinel(sentinels, sentinel_kwargs=sentinel_options)
    pool: ConnectionPool = sentinel.master_for(service, **options).connection_pool
    return pool, sentinel.sentinels
