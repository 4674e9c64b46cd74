from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ConfigError
from server.namespaces.monitor import catalogue
from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Rules, parse
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import KINDS, SourceError
from server.namespaces.monitor.sources.opcua import KIND, OpcUaSource, is_node, reading
from tests.support.answering import answering
from tests.support.opcua_server import NAMESPACE, PASSWORD, USER, OpcUaServer
from tests.support.ports import free_port
from tests.support.proxy import Proxy

WELDER, PRESS, GHOST = "KRCWO12ELOA101", "KRCWO12ELOA102", "KRCWO12ELOA103"
RULES = Rules({"error": parse("fault or temp > 90"), "running": parse("state in [1, 2]"), "idle": parse("state == 3")})
TOLD = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = ua.StatusCode()
UNCERTAIN = ua.StatusCode(ua.UInt32(ua.StatusCodes.UncertainLastUsableValue))
BAD = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadDeviceFailure))
TAGS = {"state": "s=Line1.{code}.State", "fault": "s={code}.Fault", "temp": "s={oven}"}
NODES = [name for code in (WELDER, PRESS) for name in (f"Line1.{code}.State", f"{code}.Fault", f"Oven.{code}")]


def machine(code: str, tags: Mapping[str, Mapping[str, Any]]) -> Machine:
    return Machine(code, code, "Line1", {"placeholders": {"oven": f"Oven.{code}"}}, tags)


def group(*codes: str, tags: Mapping[str, Any] = TAGS, **options: object) -> Group:
    tag = KIND.tag
    assert tag is not None
    tables = {name: each if isinstance(each, dict) else {"node": each} for name, each in tags.items()}
    loaded = {name: tag().load(table) for name, table in tables.items()}
    machines = tuple(machine(code, loaded) for code in codes or (WELDER, PRESS))
    return Group("line", "opcua", KIND.options().load({"namespace": NAMESPACE, **options}), RULES, machines)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(NODES, tmp_path_factory.mktemp("opcua")) as server:
        gc.freeze()  # all that it stands for would be looked through after each test
        yield server


@pytest_asyncio.fixture
async def server(built: OpcUaServer) -> OpcUaServer:
    """A welder that runs, a press that stands still."""
    for name in NODES:
        built.set(name, False if name.endswith("Fault") else 0, SourceTimestamp=TOLD)
    built.set(f"Line1.{WELDER}.State", 1, SourceTimestamp=TOLD)
    await built.allow(0)
    built.requests.clear()
    return built


@asynccontextmanager
async def source(url: str, *codes: str, **options: object) -> AsyncIterator[OpcUaSource]:
    source = OpcUaSource(group(*codes, url=url, **options))
    try:
        yield source
    finally:
        await source.close()
        assert len(asyncio.all_tasks()) == 1


RUNNING, STOPPED = Reading("running", "good", TOLD), Reading("stopped", "good", TOLD)
WELL = {WELDER: RUNNING, PRESS: STOPPED}

# -- what is told of a machine ----------------------------------------------------------------------------------------


def told(*answers: tuple[object, ua.StatusCode | None, datetime | None]) -> Reading | SourceError:
    tags = {name: {"scale": 1.0, "offset": 0.0} for name in ("state", "fault", "temp")}
    data = [ua.DataValue(ua.Variant(value), status, moment) for value, status, moment in answers]
    return reading(tags, dict(zip(tags, data, strict=False)), RULES)


@pytest.mark.parametrize("quality", [BAD, ua.StatusCode(ua.UInt32(0xC0000000))])
def test_what_its_server_calls_bad_is_no_reading(quality: ua.StatusCode) -> None:
    error = told((1, GOOD, TOLD), (False, quality, TOLD))
    assert isinstance(error, SourceError)
    assert str(error).startswith("fault: ")


@pytest.mark.parametrize("value", [None, [1, 2], b"1", TOLD, "x" * 1001])
def test_what_rules_cannot_look_at_is_no_reading(value: object) -> None:
    assert isinstance(told((value, GOOD, TOLD)), SourceError)


@pytest.mark.parametrize(
    ("state", "temp", "status"),
    [(1, 20.0, "running"), (3, 20.0, "idle"), ("1", 20.0, "stopped"), (1, 95.5, "error"), (1, nan, "running")],
)
def test_wrong_types_are_for_the_rules(state: object, temp: float, status: str) -> None:
    found = told((state, None, TOLD), (False, GOOD, TOLD), (temp, GOOD, TOLD))
    assert found == Reading(status, "good", TOLD, runs=status == "error")  # type: ignore[arg-type]


def test_uncertain_is_stale() -> None:
    assert told((1, UNCERTAIN, TOLD), (False, GOOD, TOLD)) == Reading("running", "stale", TOLD)


@pytest.mark.parametrize(
    ("times", "oldest"),
    [
        ([None, None, None], None),
        ([TOLD, TOLD - timedelta(hours=1), None], TOLD - timedelta(hours=1)),
        ([datetime(1601, 1, 1, tzinfo=UTC), TOLD, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)], TOLD),
        ([TOLD.replace(tzinfo=None), None, None], TOLD),
    ],
)
def test_its_time_is_its_oldest_tags(times: list[datetime | None], oldest: datetime | None) -> None:
    found = told(*((value, GOOD, moment) for value, moment in zip((1, False, 20), times, strict=True)))
    assert found == Reading("running", "good", oldest)


# -- what may stand in the file -------------------------------------------------------------------------------------

FILE = """
[groups.line]
source = "opcua"
url = "{url}"
{more}
tags.status = {{ node = "{node}" }}

[[machines]]
code = "KRCWO12ELOA101"
name = "Welder"
group = "line"
placeholders = {{ station = "R3" }}
"""


@pytest.mark.parametrize(
    ("url", "node", "more", "fault"),
    [
        ("opc.tcp://plc", "i=5", "", ":4: groups.line.url: Must be like opc.tcp://host:4840"),
        ("opc.tcp://me:secret@plc:4840", "i=5", "", ":4: groups.line.url"),
        ("http://plc:4840", "i=5", "", ":4: groups.line.url"),
        ("opc.tcp://plc:x", "i=5", "", ":4: groups.line.url"),
        ("opc.tcp://plc:4840", "Line1.State", "", "tags.status.node: 'Line1.State' is not like ns=2;s=name"),
        ("opc.tcp://plc:4840", "ns=70000;i=5", "", "tags.status.node"),
        ("opc.tcp://plc:4840", "s={bay}", "", "tags.status.node: nothing stands for {bay}"),
        ("opc.tcp://plc:4840", "i=5", "security_policy = 'None'", ":5: groups.line.security_policy"),
        ("opc.tcp://plc:4840", "i=5", "security_policy = 'Basic256Sha256'", "private_key: A security_policy needs it"),
        ("opc.tcp://plc:4840", "i=5", "password_env = 'OPC_PASSWORD'", "password_env: Needs a user"),
        ("opc.tcp://plc:4840", "i=5", "passwort = 'x'", ":5: groups.line.passwort: Unknown field"),
    ],
)
def test_faults_of_the_file(tmp_path: Path, url: str, node: str, more: str, fault: str) -> None:
    path = tmp_path / "equipment.toml"
    path.write_text(FILE.format(url=url, node=node, more=more))
    with pytest.raises(ConfigError) as raised:
        catalogue.load(path, KINDS)
    assert fault in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_group_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "equipment.toml"
    path.write_text(FILE.format(url="opc.tcp://plc:4840", node="s={line}.{station}.{name}", more=""))
    (built,) = catalogue.sources(catalogue.load(path, KINDS), KINDS)
    assert built.codes == ["KRCWO12ELOA101"]


def test_a_password_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPC_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="the environment has no OPC_PASSWORD"):
        OpcUaSource(group(url="opc.tcp://plc:1", user=USER, password_env="OPC_PASSWORD"))


@given(st.text(max_size=30))
def test_any_text_is_a_node_or_not(text: str) -> None:
    assert is_node(f"s={text}")
    is_node(text)


# -- a server that is well ----------------------------------------------------------------------------------------


async def test_reads_all_machines_in_one_request(server: OpcUaServer) -> None:
    async with source(server.url) as opcua:
        assert await opcua.read() == WELL
        server.requests.clear()
        server.set(f"{PRESS}.Fault", True, SourceTimestamp=TOLD)
        assert await opcua.read() == {WELDER: RUNNING, PRESS: Reading("error", "good", TOLD)}
        assert server.requests == [6]
        assert list(opcua.codes) == [WELDER, PRESS]


async def test_scaling(server: OpcUaServer) -> None:
    tags = {**TAGS, "temp": {"node": "s={oven}", "scale": 0.1, "offset": -40}}
    async with source(server.url, WELDER, tags=tags) as opcua:
        server.set(f"Oven.{WELDER}", 1300, SourceTimestamp=TOLD)
        assert (await opcua.read())[WELDER] == RUNNING
        server.set(f"Oven.{WELDER}", 1301, SourceTimestamp=TOLD)
        assert (await opcua.read())[WELDER] == Reading("error", "good", TOLD, runs=True)


async def test_no_request_is_larger_than_the_server_likes(server: OpcUaServer) -> None:
    await server.allow(4)
    async with source(server.url) as opcua:
        assert await opcua.read() == WELL
        assert server.requests[-2:] == [4, 2]


async def test_a_node_that_is_missing_or_bad_costs_only_its_machine(server: OpcUaServer) -> None:
    server.set(f"{WELDER}.Fault", False, StatusCode=BAD)
    async with source(server.url, WELDER, PRESS, GHOST) as opcua:
        readings = await opcua.read()
    assert readings[PRESS] == STOPPED
    assert [str(readings[code]) for code in (WELDER, GHOST)] == ["fault: BadDeviceFailure", "state: BadNodeIdUnknown"]


async def test_a_namespace_that_the_server_does_not_have(server: OpcUaServer) -> None:
    async with source(server.url, namespace="urn:elsewhere") as opcua:
        for _ in range(2):
            with pytest.raises(SourceError, match="the server has no namespace urn:elsewhere"):
                await opcua.read()


async def test_a_user_with_a_password(server: OpcUaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPC_PASSWORD", PASSWORD)
    async with source(server.url, user=USER, password_env="OPC_PASSWORD") as opcua:
        assert await opcua.read() == WELL
    monkeypatch.setenv("OPC_PASSWORD", "wrong-secret")
    async with source(server.url, user=USER, password_env="OPC_PASSWORD") as opcua:
        with pytest.raises(SourceError) as raised:
            await opcua.read()
        assert "wrong-secret" not in str(raised.value)


async def test_signed_and_encrypted(server: OpcUaServer, tmp_path: Path) -> None:
    secure = {"security_policy": "Basic256Sha256", "certificate": str(server.certificate)}
    async with source(server.url, private_key=str(server.key), **secure) as opcua:
        assert await opcua.read() == WELL
    async with source(server.url, private_key=str(tmp_path / "absent.pem"), **secure) as opcua:
        with pytest.raises(SourceError, match=r"absent\.pem"):
            await opcua.read()


# -- a server that is not ------------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    async with source(f"opc.tcp://127.0.0.1:{free_port()}") as opcua:
        for _ in range(2):
            with pytest.raises(SourceError, match="Connect"):
                await opcua.read()
            await opcua.close()


async def test_a_restart(server: OpcUaServer) -> None:
    async with source(server.url) as opcua:
        assert await opcua.read() == WELL
        await server.stop()
        with pytest.raises(SourceError):
            await opcua.read()
        await opcua.close()
        await server.start()
        assert await opcua.read() == WELL
        await server.stop()
        await server.start()
        assert await opcua.read() == WELL  # and nobody noticed


async def test_a_frozen_server(server: OpcUaServer) -> None:
    proxy = await Proxy.start("127.0.0.1", server.port)
    try:
        opcua = OpcUaSource(group(url=f"opc.tcp://127.0.0.1:{proxy.port}"))
        assert await opcua.read() == WELL
        proxy.black_hole(True)
        for _ in range(3):  # at first while it is asked, then while it is connected to
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await opcua.read()
            async with asyncio.timeout(0.1):
                await opcua.close()
        proxy.black_hole(False)
        assert await opcua.read() == WELL
        await opcua.close()
    finally:
        await proxy.close()


async def test_a_server_that_flaps(server: OpcUaServer) -> None:
    proxy = await Proxy.start("127.0.0.1", server.port)
    try:
        opcua = OpcUaSource(group(url=f"opc.tcp://127.0.0.1:{proxy.port}"))
        for _ in range(10):
            assert await opcua.read() == WELL
            proxy.refuse()
            await proxy.cut()
            with pytest.raises(SourceError):
                await opcua.read()
            await opcua.close()
            await proxy.accept()
        assert await opcua.read() == WELL
        assert server.connections == 1
        await opcua.close()
    finally:
        await proxy.close()


GARBAGE: Mapping[str, bytes | None] = {
    "hangs up": None,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an error": b"ERRF\x10\x00\x00\x00\x00\x00\x80\x80\x00\x00\x00\x00",
    "an unknown message": b"XYZF\x08\x00\x00\x00",
    "a size below its header's": b"ACKF\x01\x00\x00\x00",
    "an acknowledgement cut short": b"ACKF\x0c\x00\x00\x00\x00\x00\x00\x00",
    "a message before it is due": b"MSGF\x20\x00\x00\x00" + bytes(24),
    "a flood": b"\xff" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_opc_ua(garbage: bytes | None) -> None:
    async with answering(lambda request: garbage) as port:
        opcua = OpcUaSource(group(url=f"opc.tcp://127.0.0.1:{port}"))
        for _ in range(2):
            with pytest.raises((SourceError, TimeoutError)):
                async with asyncio.timeout(0.1):
                    await opcua.read()
            async with asyncio.timeout(0.1):
                await opcua.close()
