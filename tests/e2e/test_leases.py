"""A device that two nodes would read, and processes that are frozen and killed: it never has two readers at once, and
nothing that became of it is told or stored twice."""

from __future__ import annotations

import asyncio
import itertools
import signal
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import PATIENCE, ROOT, answers, atrium
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import SECRET

pytestmark = pytest.mark.e2e

PERIOD = 0.5
MOST_MISSED = round(5 / PERIOD)  # statuses of a takeover (SPEC §6)


class Device:
    """Has an error. Speaks Modbus TCP, slowly, so that a reader is often waiting for it; keeps who asked, in order."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[int] = []
        self._readers = itertools.count(1)
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for each in self._serving:
            each.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def readers(self) -> list[int]:
        """Each as often as it came to be the one."""
        return [reader for reader, _ in itertools.groupby(self.asked)]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._readers)
        try:
            while True:
                head = await reader.readexactly(6)
                body = await reader.readexactly(int.from_bytes(head[4:]))
                self.asked.append(number)
                await asyncio.sleep(0.05)
                values = b"\0\1" * int.from_bytes(body[4:6])
                answer = body[:2] + bytes([len(values)]) + values
                writer.write(head[:4] + len(answer).to_bytes(2) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


class Watcher(Client):
    def __init__(self) -> None:
        super().__init__("/monitor")

    def look_up(self) -> None:
        """What came before now is not seen."""
        self._taken.update(range(len(self.received)))

    async def sees(self, connected: bool) -> int:
        """How many statuses pass until all machines are as this says."""
        for count in itertools.count():
            if is_connected(await self.expect("equipment_status")) is connected:
                return count
        raise AssertionError

    @property
    def moments(self) -> list[int]:
        """Of the world's clock, in periods, at which a status came beside the one at connecting."""
        _, *regular = self.payloads("equipment_status")
        return [int(datetime.fromisoformat(each["timestamp"]).timestamp() // PERIOD) for each in regular]

    @property
    def newest(self) -> set[str]:
        return {str(status["equipment"]) for status in self.payloads("equipment_status")[-4:]}


def is_connected(payload: Any) -> bool:
    (connected,) = {machine["tags"]["connection"] for machine in payload["equipment"]}
    return bool(connected)


def configure(home: Path, port: int) -> Path:
    config = home / "config"
    config.mkdir()
    for file in (ROOT / "config").iterdir():
        (config / file.name).symlink_to(file)
    equipment = config / "equipment.toml"
    equipment.unlink()
    equipment.write_text(
        f'[groups.press]\nsource = "modbus"\nhost = "127.0.0.1"\nport = {port}\n'
        "[groups.press.tags]\nstatus = { register = 0 }\nerror = { register = 1 }\nready = { register = 2 }\n"
        '[[machines]]\ncode = "KRCWO12ELOA101"\nname = "press"\ngroup = "press"\naddress = 0\n'
        '[[machines]]\ncode = "KRCWO12ELOA102"\nname = "other press"\ngroup = "press"\naddress = 10\n'
    )
    return config


async def test_the_reader_is_frozen_and_killed(tmp_path: Path) -> None:
    async with RedisServer() as redis, Device() as device:
        environ = {
            "DATA_DIR": str(tmp_path),
            "CONFIG_DIR": str(configure(tmp_path, device.port)),
            "JWT_SECRET_KEY": SECRET,
            "REDIS_URL": redis.url,
            "MONITOR_PERIOD": str(PERIOD),
            "TRADING_FEED": "none",
        }
        ports = free_port(), free_port()
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        async with atrium("migrate", cwd=tmp_path, **environ) as migration:
            assert await migration.finish() == 0, migration.output
        first, second = Watcher(), Watcher()
        async with atrium("serve", cwd=tmp_path, **environ, PORT=str(ports[0])) as one:
            await one.read_until("lease gained")
            async with atrium("serve", cwd=tmp_path, **environ, PORT=str(ports[1])) as other:
                for watcher, url in zip((first, second), urls, strict=True):
                    await answers(f"{url}/healthz")
                    await watcher.connect(url)
                    await watcher.sees(connected=True)

                one.signal(signal.SIGSTOP)
                await second.sees(connected=False)
                assert await second.sees(connected=True) <= MOST_MISSED
                one.signal(signal.SIGCONT)
                await one.read_until("lease left")
                first.look_up()
                await first.sees(connected=True)
                for watcher in (first, second) * 4:
                    assert await watcher.sees(connected=True) == 0
                assert first.newest & second.newest
                assert device.readers == [1, 2]

                first.look_up()
                other.signal(signal.SIGKILL)
                await first.sees(connected=False)
                assert await first.sees(connected=True) <= MOST_MISSED
                assert device.readers == [1, 2, 3]
            past = await Rest(urls[0]).get("/api/monitor/alarms", state="all")
            assert [(each["kind"], each["cleared_at"]) for each in past.body["alarms"]] == [("error", None)] * 2
            for watcher in (first, second):
                assert len(watcher.moments) == len(set(watcher.moments)), "a status is doubled"
                raised = [each["equipment_code"] for each in watcher.payloads("equipment_alarm")]
                assert len(raised) == len(set(raised)), "an alarm is doubled"
            one.signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                assert await one.finish() == 0
        for watcher in (first, second):
            await watcher.close()
