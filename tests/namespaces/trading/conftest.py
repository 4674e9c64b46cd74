from __future__ import annotations

import pytest

from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.rest import Rest
from tests.support.running import Running


@pytest.fixture
async def server(serve: Serve) -> Running:
    """Where nothing is told but by who tests it."""
    return await serve(TRADING_FEED="none")


@pytest.fixture
async def publisher(server: Running, connect: Connect) -> Client:
    return await connect(server, "/trading", "feed", roles=("publisher",))


@pytest.fixture
def root(server: Running) -> Rest:
    return Rest(server.url, "root", roles=("admin",))
