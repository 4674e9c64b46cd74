from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from server.migrations import upgrade
from tests.support import running
from tests.support.client import Client
from tests.support.declared import Watch
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.postgres import postgres

Serve = Callable[..., Awaitable[running.Running]]
Connect = Callable[..., Awaitable[Client]]


#: How long a machine takes, for its tables of Unicode above all, is no fault of what is tested.
hypothesis.settings.register_profile("atrium", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("atrium")


def pytest_configure() -> None:
    """A run that is ended by SIGTERM takes its PostgreSQL with it."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


declared = Watch()
declared.install()


@pytest.fixture(autouse=True, scope="module")
def set_aside_what_stays() -> None:
    """Imports and caches live to the end: looking through them after each test would take 0.15 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest) -> None:
    """Tests that have a loop are watched for what goes wrong beside them."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_blocking_calls")
        request.getfixturevalue("no_lost_exceptions")


@pytest.fixture(autouse=True)
def told_as_declared(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """What the test's servers tell their clients is what their namespaces declare; `undeclared` says why it is not."""
    declared.begin(on=request.node.get_closest_marker("undeclared") is None)
    yield declared
    if declared.faults:
        pytest.fail("\n".join(declared.faults), pytrace=False)


@pytest.fixture
def no_blocking_calls() -> Iterator[None]:
    """A call in `server` that blocks the event loop fails the test."""
    # Migrations run in a loop of their own, where Alembic reads its files.
    with blockbuster_ctx("server", excluded_modules=["server.migrations"]) as detector:
        for blocking in detector.functions.values():
            blocking.can_block_in("asyncpg/connect_utils.py", {"_connect"})  # it looks for ~/.pgpass and certificates
            blocking.can_block_in("structlog/_base.py", {"_process_event"})  # a traceback shows lines of its files
        yield


@pytest_asyncio.fixture
async def no_lost_exceptions() -> AsyncIterator[None]:
    """An exception that nobody retrieved fails the test."""
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
    yield
    await asyncio.sleep(0)
    gc.collect()
    assert not lost, lost


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "atrium.db"
    upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres(free_port()) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> str:
    """The name of a template database that is at the newest migration."""
    name = "template_atrium"
    base = postgres_server.rpartition("/")[0]
    asyncio.run(_create(postgres_server, name))
    upgrade(f"{base}/{name}".replace("postgresql:", "postgresql+asyncpg:"))
    return name


async def _create(server: str, name: str, template: str = "template1") -> None:
    connection = await asyncpg.connect(server)
    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    await connection.close()


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_sqlite, tmp_path / "atrium.db")
    return f"sqlite:///{tmp_path / 'atrium.db'}"


@pytest_asyncio.fixture
async def postgres_url(postgres_server: str, migrated_postgres: str) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    await _create(postgres_server, name, migrated_postgres)
    yield f"{postgres_server.rpartition('/')[0]}/{name}"
    connection = await asyncpg.connect(postgres_server)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of each kind: what asks for it runs on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest_asyncio.fixture
async def serve(sqlite_url: str) -> AsyncIterator[Serve]:
    """Starts a whole server on port 0 with settings by variable name, on SQLite unless told otherwise."""
    started: list[running.Running] = []

    async def serve(**environ: object) -> running.Running:
        server = await running.start(running.settings(**{"DATABASE_URL": sqlite_url, **environ}))
        started.append(server)
        return server

    yield serve
    for each in started:
        await each.runner.cleanup()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects a stock Python client to a namespace of a server: `await connect(server, "/chat", "alice")`."""
    clients: list[Client] = []

    async def connect(
        server: running.Running,
        namespace: str,
        sub: str | None = None,
        *,
        roles: tuple[str, ...] = (),
        tenant: str | None = None,
        **options: Any,
    ) -> Client:
        client = Client(namespace)
        clients.append(client)
        await client.connect(
            server.url, None if sub is None else running.token(sub, roles=roles, tenant=tenant), **options
        )
        return client

    yield connect
    for each in clients:
        await each.close()


@pytest.fixture(scope="module")
def openai_at_once() -> Iterator[None]:
    """Importing it takes a second, and its certificates, which no test needs, 0.05 s for each client."""
    import httpx2
    import openai.resources.chat  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2, "create_ssl_context", functools.cache(httpx2.create_ssl_context))
        yield


@pytest_asyncio.fixture
async def llm(openai_at_once: None) -> AsyncIterator[OpenAIServer]:
    """A language model, which says what it is told to."""
    async with OpenAIServer() as server:
        yield server
