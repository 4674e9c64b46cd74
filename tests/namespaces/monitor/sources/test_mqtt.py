from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ConfigError
from server.namespaces.monitor import catalogue
from server.namespaces.monitor.catalogue import Group, Machine
from server.namespaces.monitor.rules import Rules, parse
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import KINDS, SourceError
from server.namespaces.monitor.sources.mqtt import KIND, LARGEST_PAYLOAD, MqttSource, found, moment, parsed
from server.namespaces.monitor.sources.tags import plain
from tests.support.mqtt_broker import PASSWORD, SECRET, USER, MqttBroker
from tests.support.ports import free_port
from tests.support.process import PATIENCE
from tests.support.proxy import Proxy

WELDER, PRESS = "KRCWO12ELOA101", "KRCWO12ELOA102"
RULES = Rules(
    {
        "disconnected": parse("link == 'offline'"),
        "error": parse("fault > 0"),
        "running": parse("state == 'run'"),
        "idle": parse("state == 'wait'"),
    }
)
TAGS: Mapping[str, Mapping[str, object]] = {
    "state": {"topic": "plant/{code}/state", "path": "machine.state", "time_path": "at"},
    "fault": {"topic": "plant/{code}/state", "path": "faults.0", "default": 0},
    "link": {"topic": "plant/{code}/link", "default": "online"},
}
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def group(*codes: str, tags: Mapping[str, Mapping[str, object]] = TAGS, **options: object) -> Group:
    assert KIND.tag is not None
    loaded = {name: KIND.tag().load(table) for name, table in tags.items()}
    machines = tuple(Machine(code, code, "Line1", {"placeholders": {}}, loaded) for code in codes or (WELDER, PRESS))
    return Group("line", "mqtt", KIND.options().load({"host": "127.0.0.1", **options}), RULES, machines)


def state(state: str, *faults: object) -> bytes:
    return orjson.dumps({"machine": {"state": state}, "faults": list(faults) or [0], "at": "2026-03-01T12:00:00Z"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Listening(MqttSource):
    """Says what it heard, as there is nothing else to wait for."""

    def __init__(self, group: Group) -> None:
        self.clock = Clock()
        self.topics: asyncio.Queue[str] = asyncio.Queue()
        super().__init__(group, clock=self.clock)

    def _hear(self, topic: str, payload: bytes) -> None:
        super()._hear(topic, payload)
        self.topics.put_nowait(topic)

    async def hears(self, broker: MqttBroker, topic: str, payload: bytes, *, retain: bool = False) -> None:
        while not self.topics.empty():
            self.topics.get_nowait()
        await broker.publish(topic, payload, retain=retain)
        async with asyncio.timeout(PATIENCE):
            while await self.topics.get() != topic:
                pass

    async def read_on(self) -> None:
        """Until it has seen that it was cut off, and fails to connect."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.read()
                await asyncio.sleep(0)

    async def status(self, code: str = WELDER) -> str:
        reading = (await self.read())[code]
        return str(reading) if isinstance(reading, SourceError) else f"{reading.status} {reading.quality}"


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[MqttBroker]:
    async with MqttBroker() as broker:
        yield broker


@asynccontextmanager
async def source(port: int, *codes: str, **options: Any) -> AsyncIterator[Listening]:
    source = Listening(group(*codes, port=port, **options))
    try:
        yield source
    finally:
        await source.close()


async def connected(broker: MqttBroker, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(broker.clients) != count:  # noqa: ASYNC110 - nothing tells that the broker has noticed
            await asyncio.sleep(0)


WELDER_STATE, PRESS_STATE = f"plant/{WELDER}/state", f"plant/{PRESS}/state"
WELDER_LINK = f"plant/{WELDER}/link"

# -- what a message says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "path", "value"),
    [
        (b"5", None, 5),
        (b"-1.5", None, -1.5),
        (b"true", None, True),
        (b"running", None, "running"),
        (b'"running"', None, "running"),
        (b'{"a":{"b":[1,{"c":7}]}}', "a.b.1.c", 7),
        (b'{"a":{"b":[1]}}', "a.b.1", None),
        (b'{"a":{"b":[1]}}', "a.b.-1", None),
        (b'{"a":{"b":[1]}}', "a.b", None),
        (b'{"a":{"b":[1]}}', "a.b.99999999999999999999", None),
        (b'{"a":1', "a", None),
        (b"5", "a", None),
        (b"NaN", "a", None),
        (b"", None, None),
        (b"null", None, None),
        (b"\xff\xfe", None, None),
        (b"x" * 1001, None, None),
        (b" " * LARGEST_PAYLOAD + b"1", None, None),
        (b"[" * 60_000, None, None),
    ],
)
def test_values(payload: bytes, path: str | None, value: object) -> None:
    assert plain(found(parsed(payload), path)) == value


@given(st.binary(max_size=60), st.text(max_size=10))
def test_no_payload_is_too_odd(payload: bytes, path: str) -> None:
    plain(found(parsed(payload), path))
    moment(found(parsed(payload), path))


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-03-01T12:00:00Z", AT),
        ("2026-03-01T21:00:00+09:00", AT),
        ("2026-03-01T12:00:00", AT),
        (AT.timestamp(), AT),
        (int(AT.timestamp() * 1000), AT),
        ("noon", None),
        (0, None),
        (1e300, None),
        (-1e300, None),
        (True, None),
        (None, None),
        (float("nan"), None),
        ("9999-12-31T23:59:59-12:00", None),
    ],
)
def test_times(value: object, time: datetime | None) -> None:
    assert moment(value) == time


# -- what may stand in the file -------------------------------------------------------------------------------------

FILE = """
[groups.line]
source = "mqtt"
host = "broker"
{more}
tags.status = {{ topic = "plant/{{code}}"{tag} }}

[[machines]]
code = "KRCWO12ELOA101"
name = "Welder"
group = "line"
"""


@pytest.mark.parametrize(
    ("more", "tag", "fault"),
    [
        ("port = 0", "", ":5: groups.line.port"),
        ("stale_after = -1", "", ":5: groups.line.stale_after"),
        ("keepalive = 5", "", ":5: groups.line.keepalive: Unknown field"),
        ("keepalive = 5", ", scal = 2", ":6: groups.line.tags.status.scal: Unknown field"),
        ("stale_after = '5'", "", ":5: groups.line.stale_after: Not a valid number"),
        ("", ", scale = true", "groups.line.tags.status.scale: Not a valid number"),
        ("password_env = 'X'", "", "password_env: Needs a user"),
        ("ca_file = 'ca.pem'", "", "ca_file: Needs tls = true"),
        ("", ", path = '{bay}'", "tags.status.path: nothing stands for {bay}"),
        ("", ", default = [1]", "tags.status.default: Must be a number, a text, true or false"),
        ("tags.ready = { topic = 'plant/#' }", "", "tags.ready.topic: Must be one topic, without + and #"),
        ("tags.ready = { topic = 'plant/{bay}' }", "", "tags.ready.topic: nothing stands for {bay}"),
    ],
)
def test_faults_of_the_file(tmp_path: Path, more: str, tag: str, fault: str) -> None:
    path = tmp_path / "equipment.toml"
    path.write_text(FILE.format(more=more, tag=tag))
    with pytest.raises(ConfigError) as raised:
        catalogue.load(path, KINDS)
    assert fault in str(raised.value)


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"groups\.line: ca_file: .*absent"):
        MqttSource(group(tls=True, ca_file=str(tmp_path / "absent")))
    (tmp_path / "none").write_text("none")
    with pytest.raises(ConfigError, match=r"groups\.line: ca_file: .*none"):
        MqttSource(group(tls=True, ca_file=str(tmp_path / "none")))


# -- a broker that is well -----------------------------------------------------------------------------------------


async def test_the_newest_is_told(broker: MqttBroker) -> None:
    async with source(broker.port) as mqtt:
        assert await mqtt.status() == f"nothing useful yet on {WELDER_STATE}"
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        assert (await mqtt.read())[WELDER] == Reading("running", "good", AT)
        await mqtt.hears(broker, WELDER_STATE, state("run", 7))
        assert await mqtt.status() == "error good"
        assert await mqtt.status(PRESS) == f"nothing useful yet on {PRESS_STATE}"
        assert list(mqtt.codes) == [WELDER, PRESS]


async def test_what_is_retained_is_told_at_once(broker: MqttBroker) -> None:
    await broker.publish(WELDER_STATE, state("wait"), retain=True)
    async with source(broker.port) as mqtt:
        assert await mqtt.status() == "idle good"


async def test_a_last_will(broker: MqttBroker) -> None:
    async with source(broker.port) as mqtt:
        await mqtt.status()
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        await mqtt.hears(broker, WELDER_LINK, b"offline", retain=True)
        assert await mqtt.status() == "disconnected good"
        await mqtt.hears(broker, WELDER_LINK, b"online", retain=True)
        assert await mqtt.status() == "running good"


async def test_a_machine_that_falls_silent(broker: MqttBroker) -> None:
    async with source(broker.port, stale_after=5, lost_after=30) as mqtt:
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        for passed, status in [(5, "running good"), (25, "running stale"), (1, "silent for 31 s")]:
            mqtt.clock.now += passed
            assert await mqtt.status() == status
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        assert await mqtt.status() == "running good"


async def test_silence_may_be_allowed(broker: MqttBroker) -> None:
    async with source(broker.port, stale_after=0, lost_after=0) as mqtt:
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        mqtt.clock.now += 1e6
        assert await mqtt.status() == "running good"


@pytest.mark.parametrize("garbage", [b"\xff", b"{", b"{}", b"x" * (LARGEST_PAYLOAD + 1)])
async def test_garbage_is_bad_until_the_next_good_one(broker: MqttBroker, garbage: bytes) -> None:
    async with source(broker.port) as mqtt:
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, garbage)
        assert await mqtt.status() == f"nothing useful yet on {WELDER_STATE}"
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        assert await mqtt.status() == "running good"
        await mqtt.hears(broker, WELDER_STATE, garbage)
        assert await mqtt.status() == "running bad"
        assert mqtt.useless_messages == 4
        await mqtt.hears(broker, WELDER_STATE, state("wait"))
        assert await mqtt.status() == "idle good"


async def test_a_topic_that_is_refused_costs_only_its_machines(broker: MqttBroker) -> None:
    tags = {"state": {"topic": SECRET + "state"}}
    async with source(broker.port, tags=tags) as mqtt:
        assert await mqtt.status() == f"the broker refuses {SECRET}state"


async def test_many_machines_on_one_topic(broker: MqttBroker) -> None:
    codes = [f"KRCWO12ELOB{number:03}" for number in range(120)]
    tags = {"state": {"topic": "plant/all", "path": "{code}.now", "time_path": "{code}.at"}, "own": {"topic": "{code}"}}
    tags["own"]["default"] = 0  # type: ignore[assignment]
    async with source(broker.port, *codes, tags=tags) as mqtt:
        await mqtt.read()
        news = {code: {"now": "run" if code < codes[60] else "wait", "at": AT.timestamp()} for code in codes}
        await mqtt.hears(broker, "plant/all", orjson.dumps(news))
        readings = await mqtt.read()
        assert [readings[code] for code in codes] == [Reading("running", "good", AT)] * 60 + [
            Reading("idle", "good", AT)
        ] * 60


async def test_a_user_with_a_password(broker: MqttBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", PASSWORD)
    async with source(broker.port, user=USER, password_env="MQTT_PASSWORD") as mqtt:
        await mqtt.read()
    monkeypatch.setenv("MQTT_PASSWORD", "wrong-secret")
    async with source(broker.port, user=USER, password_env="MQTT_PASSWORD") as mqtt:
        with pytest.raises(SourceError, match=r"the broker refuses: (Not authorized|Bad user name)"):
            await mqtt.read()


async def test_over_tls(tmp_path: Path) -> None:
    async with MqttBroker(tmp_path) as broker:
        async with source(broker.port, tls=True, ca_file=str(tmp_path / "certificate.pem")) as mqtt:
            await mqtt.read()
            await mqtt.hears(broker, WELDER_STATE, state("run"))
            assert await mqtt.status() == "running good"
        async with source(broker.port, tls=True) as mqtt:
            with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
                await mqtt.read()


# -- a broker that is not ------------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    async with source(free_port()) as mqtt:
        for _ in range(2):
            with pytest.raises(SourceError, match="Connect"):
                await mqtt.read()
            await mqtt.close()


async def test_a_restart_forgets_what_was_heard(broker: MqttBroker) -> None:
    async with source(broker.port) as mqtt:
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        await broker.stop()
        with pytest.raises(SourceError):
            await mqtt.read()
        await mqtt.close()
        await broker.start()
        await broker.publish(PRESS_STATE, state("wait"), retain=True)
        assert await mqtt.status() == f"nothing useful yet on {WELDER_STATE}"
        assert await mqtt.status(PRESS) == "idle good"


async def test_a_frozen_broker(broker: MqttBroker) -> None:
    proxy = await Proxy.start("127.0.0.1", broker.port)
    async with source(proxy.port) as mqtt:
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, state("run"))
        proxy.black_hole(True)
        await mqtt.close()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await mqtt.read()
            await mqtt.close()
        proxy.black_hole(False)
        await mqtt.read()
        await mqtt.hears(broker, WELDER_STATE, state("wait"))
        assert await mqtt.status() == "idle good"
    await proxy.close()


async def test_a_broker_that_flaps(broker: MqttBroker) -> None:
    proxy = await Proxy.start("127.0.0.1", broker.port)
    await broker.publish(WELDER_STATE, state("run"), retain=True)
    async with source(proxy.port) as mqtt:
        for _ in range(10):
            assert await mqtt.status() == "running good"
            proxy.refuse()
            await proxy.cut()
            with pytest.raises(SourceError):
                await mqtt.read_on()
            await mqtt.close()
            await proxy.accept()
        assert await mqtt.status() == "running good"
        await connected(broker, 1)
    await connected(broker, 0)
    await proxy.close()
