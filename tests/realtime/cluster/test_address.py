"""Each kind of address, with a real Redis behind it: rooms span nodes and sessions move between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from server.realtime.cluster.address import RedisAway, connector
from tests.support.client import PATIENCE
from tests.support.managers import Cluster, emit, gone, manager_of, node_of, reader, until
from tests.support.redis import SERVICE, RedisServer

Address = Callable[[Path], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def plain(home: Path) -> AsyncIterator[str]:
    async with RedisServer() as server:
        yield server.url


@asynccontextmanager
async def password(home: Path) -> AsyncIterator[str]:
    async with RedisServer(password="it-is-a-secret") as server:
        yield server.url


@asynccontextmanager
async def user(home: Path) -> AsyncIterator[str]:
    """Whose password wants quoting."""
    async with RedisServer(password="admin") as server, server.client() as client:
        await client.acl_setuser(
            "atrium", enabled=True, passwords=["+p@ss/w:rd"], keys=["*"], channels=["*"], commands=["+@all"]
        )
        await client.acl_setuser("default", enabled=False)
        yield f"redis://atrium:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}/0"


@asynccontextmanager
async def tls(home: Path) -> AsyncIterator[str]:
    """As Heroku has it: `rediss://`, a password, a certificate that signed itself."""
    async with RedisServer(tls=True, password="it-is-a-secret") as server:
        yield server.url


@asynccontextmanager
async def database(home: Path) -> AsyncIterator[str]:
    async with RedisServer(database=7) as server:
        yield server.url


@asynccontextmanager
async def unix(home: Path) -> AsyncIterator[str]:
    path = home / "redis.sock"
    process = await asyncio.create_subprocess_exec(
        *("redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""),
        stdout=asyncio.subprocess.DEVNULL,
        cwd=home,
    )
    await until(path.exists)
    yield f"unix://{path}?db=3"
    process.kill()
    await process.wait()


@asynccontextmanager
async def sentinel(home: Path) -> AsyncIterator[str]:
    async with RedisServer(sentinel=True, password="it-is-a-secret", database=2) as server:
        yield server.sentinel_url


@asynccontextmanager
async def cluster(home: Path) -> AsyncIterator[str]:
    """Where a script that touches keys of two hash slots is refused."""
    async with RedisServer(cluster=True) as server:
        yield server.url


@pytest.mark.parametrize(
    "address",
    [plain, password, user, tls, database, unix, sentinel, cluster],
    ids=lambda address: address.__name__,
)
async def test_nodes_meet_at_it(address: Address, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with address(tmp_path) as url:
            nodes = Cluster(url)
            servers = [await nodes.add() for _ in range(2)]
            async with reader(servers[0]) as alice, reader(servers[1], "bob") as bob:
                for each in (alice, bob):
                    await each.enter(1, 2)
                emit(servers[0], 1, room=["numbered:0::1", "numbered:0::2", bob.id])
                emit(servers[1], 2, volatile=True)
                emit(servers[1], 3)
                for each in (alice, bob):
                    assert sorted(await each.until(3) and await each.until(1)) == [1, 2, 3]
            await gone(servers[0], alice.id)
            emit(servers[1], 4, room=alice.id)
            await manager_of(servers[1]).flushed()
            async with reader(servers[1], **alice.known) as again:
                assert again.recovered
                assert again.heard == [4]
            await asyncio.gather(*(node_of(each).check() for each in servers))
            await nodes.close()
    assert [each for each in logs if each["log_level"] in ("warning", "error", "critical")] == []


async def test_after_a_failover_they_meet_at_the_new_master() -> None:
    """What was said meanwhile arrives."""
    async with (
        RedisServer(sentinel=True) as master,
        RedisServer() as replica,
        replica.client() as client,
        Redis(host="127.0.0.1", port=master.sentinel_port or 0) as watch,
    ):
        await client.replicaof("127.0.0.1", master.port)
        nodes = Cluster(master.sentinel_url)
        servers = [await nodes.add() for _ in range(2)]
        async with reader(servers[0]) as alice, reader(servers[1], "bob") as bob:
            for each in (alice, bob):
                await each.enter(1)
            emit(servers[0], 0)
            await bob.until(0)
            await _fail_over(watch)
            await master.kill()
            for number in range(1, 20):
                emit(servers[number % 2], number)
            for each in (alice, bob):
                await each.until(18)
                await each.until(19)
                assert sorted(each.heard) == list(range(20))
        await nodes.close()


async def _fail_over(watch: Redis) -> None:
    """As soon as Sentinel knows the replica, which it finds out within ten seconds."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            try:
                await watch.execute_command("SENTINEL FAILOVER", SERVICE)  # type: ignore[no-untyped-call]
            except RedisError:
                await asyncio.sleep(0.1)
            else:
                break
        before = await watch.sentinel_get_master_addr_by_name(SERVICE)
        while before == await watch.sentinel_get_master_addr_by_name(SERVICE):  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.1)


async def test_a_dead_sentinel_is_passed_over() -> None:
    async with RedisServer(sentinel=True) as server:
        connection = await connector(server.sentinel_url.replace("//", "//127.0.0.1:1,"))()
        await connection.disconnect()


# -- what is none ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:6379",
        "http://localhost",
        "redis://h:port",
        "redis://h:99999",
        "redis://[::1",
        "redis://h?db=x",
        "redis://h/no-number",
        "redis://h?bogus=1",
        "redis://h?protocol=9",
        "rediss://h?ssl_cert_reqs=maybe",
        "redis+sentinel://",
        "redis+sentinel:///mymaster",
        "redis+sentinel://a:b/mymaster",
        "redis+sentinel://a,,b/mymaster",
        "redis+sentinel://a:1:2/mymaster",
        "redis+sentinel://a:99999/mymaster",
    ],
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        connector(url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///no/such/socket", "redis+sentinel://127.0.0.1:1/x"])
async def test_where_nobody_answers_redis_is_away(url: str) -> None:
    with pytest.raises(RedisAway):
        await connector(url)()


async def test_with_the_wrong_password_redis_is_away_and_nobody_is_told_the_password() -> None:
    async with RedisServer(password="right") as server:
        with pytest.raises(RedisAway) as caught:
            await connector(f"redis://:wrong-secret@127.0.0.1:{server.port}/0")()
        assert "wrong-secret" not in str(caught.value)


async def test_a_certificate_is_checked_where_the_address_says_how() -> None:
    async with RedisServer(tls=True) as server:
        certificate = server._home / "certificate.pem"
        for options in ("", f"?ssl_ca_certs={certificate}", f"?ssl_cert_reqs=required&ssl_ca_certs={certificate}"):
            connection = await connector(server.url + options)()
            await connection.disconnect()
        with pytest.raises(RedisAway):
            await connector(f"{server.url}?ssl_cert_reqs=required")()


async def test_silence_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.realtime.cluster.address.CONNECT_SECONDS", 0.1)
    silent = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(RedisAway):
        await connector(f"redis://:password@127.0.0.1:{port}/1")()
    silent.close()
    for writer in writers:
        writer.close()
