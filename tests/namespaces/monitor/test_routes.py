from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from server.http import middleware
from server.http.api import Api
from server.namespaces.monitor import records, schemas
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.availability import Availability
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.damping import Alarm
from server.namespaces.monitor.history import History
from server.namespaces.monitor.routes import routes
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.shifts import Shifts
from server.parts import authority  # the rules for tokens that a whole server has
from server.realtime.admission import Admission
from server.realtime.limits import RateLimits
from tests.support import running
from tests.support.equipment import NOON, PRESS, WELDER, Board, after, fill, opened
from tests.support.rest import Rest

FORMULA = Machine("KRCWO12ELOA103", "=SUM(A1)", "B")
MACHINES = (WELDER, PRESS, FORMULA)
EQUIPMENT = "/api/monitor/equipment"
WELDERS = f"{EQUIPMENT}/{WELDER.code}"
HOUR = {"from": "2026-11-02T12:00:00Z", "to": "2026-11-02T13:00:00Z"}


class Plant:
    def __init__(self, url: str, board: Board) -> None:
        self.url = url
        self.board = board
        self.operator = Rest(url, "olga", roles=("operator",), tenant="acme")
        self.user = Rest(url, "alice")

    async def visit(self, path: str, **query: str) -> tuple[int, Any]:
        """Without a token."""
        async with aiohttp.ClientSession() as http, http.get(self.url + path, params=query) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture
async def plant(sqlite_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Plant]:
    async with opened(sqlite_url) as database:
        await fill(database, (WELDER, 0, "idle"), (WELDER, 600, "running"), (WELDER, 2400, "error"), seen=3600)
        async with database.transaction() as db:
            await records.store(db, [], [Alarm("a1", WELDER.code, "error", after(2400))], {}, None)
        board = Board()
        alarms = AlarmService(database, MACHINES, board.announce, now=lambda: after(3600))
        shown = [
            schemas.equipment(each.code, each.name, Reading("error"), connected=True, last_updated=NOON)
            for each in MACHINES
        ]
        history = History(database, MACHINES, alarms, lambda: shown, now=lambda: after(3600))
        availability = Availability(database, MACHINES, Shifts(), now=lambda: after(3600))
        limits = RateLimits({})
        admission = Admission(authority(running.settings(), None), limits, max_connections=1)
        app = web.Application(middlewares=[middleware.errors])
        api = Api(admission, limits, max_body=10_000)
        app.add_routes(routes(history, availability, alarms, api, require_auth=getattr(request, "param", False)))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Plant(f"http://127.0.0.1:{runner.addresses[0][1]}", board)
        await runner.cleanup()


READABLE = [EQUIPMENT, WELDERS, WELDERS + "/history", WELDERS + "/availability", "/api/monitor/availability",
            "/api/monitor/alarms"]  # fmt: skip


async def test_who_may_watch_may_read_without_a_token_but_not_act(plant: Plant) -> None:
    for path in READABLE:
        assert (await plant.visit(path))[0] == 200
    for act in ("acknowledge", "shelve", "unshelve"):
        path, body = f"/api/monitor/alarms/a1/{act}", {"minutes": 5} if act == "shelve" else {}
        async with aiohttp.ClientSession() as http, http.post(plant.url + path, json=body) as response:
            assert response.status == 401
        assert (await plant.user.post(path, body)).error == (403, "FORBIDDEN")
    assert plant.board.events == []


@pytest.mark.parametrize("plant", [True], indirect=True)
async def test_where_watching_takes_a_token_reading_does(plant: Plant) -> None:
    for path in READABLE:
        assert (await plant.visit(path))[0] == 401
        assert (await plant.user.get(path)).status == 200


NONSENSE: list[tuple[str, dict[str, str], int]] = [
    (f"{EQUIPMENT}/unknown", {}, 404),
    (f"{EQUIPMENT}/unknown/history", {}, 404),
    (f"{EQUIPMENT}/unknown/history", {"format": "csv"}, 404),
    (f"{EQUIPMENT}/unknown/availability", {"format": "csv"}, 404),
    (f"{EQUIPMENT}/a%0Ab/history", {}, 422),
    ("/api/monitor/alarms", {"equipment": "unknown"}, 404),
    ("/api/monitor/alarms", {"state": "open"}, 422),
    ("/api/monitor/availability", {"line": "unknown"}, 404),
    (WELDERS + "/history", {"from": "2026-11-03", "to": "2026-11-02"}, 422),
    (WELDERS + "/history", {"from": "2025-01-01", "to": "2026-11-02", "format": "csv"}, 422),
    (WELDERS + "/history", {"from": "soon"}, 422),
    (WELDERS + "/history", {"before": "9999-12-31T23:59:59-23:59"}, 422),
    (WELDERS + "/availability", {"from": "0001-01-01"}, 422),
    ("/api/monitor/availability", {"to": "9999-12-31"}, 422),
    ("/api/monitor/availability", {"format": "xml"}, 422),
]


async def test_nonsense(plant: Plant) -> None:
    found = [(path, query, (await plant.user.get(path, **query)).status) for path, query, _ in NONSENSE]
    assert found == NONSENSE


async def test_what_equipment_is_and_was(plant: Plant) -> None:
    now = (await plant.user.get(EQUIPMENT)).body["equipment"]
    assert [each["equipment_code"] for each in now] == [each.code for each in MACHINES]
    assert now[0]["since"] == "2026-11-02T12:40:00.000Z"
    assert (await plant.user.get(WELDERS)).body == now[0]
    page = (await plant.user.get(WELDERS + "/history", **HOUR, limit="2")).body
    assert [each["status"] for each in page["changes"]] == ["error", "running"]
    rest = (await plant.user.get(WELDERS + "/history", **HOUR, before=page["next_before"])).body
    assert [each["status"] for each in rest["changes"]] == ["idle"]
    [row] = (await plant.user.get(WELDERS + "/availability", **HOUR)).body["availability"]
    assert row["availability"] == 0.5


async def test_a_csv_that_excel_reads(plant: Plant) -> None:
    for path, count in ((WELDERS + "/history", 3), ("/api/monitor/availability", 3)):
        async with plant.user.request("GET", path, params=HOUR | {"format": "csv"}) as response:
            assert response.content_type == "text/csv"
            assert response.content_disposition is not None
            assert (response.content_disposition.type, response.charset) == ("attachment", "utf-8")
            text = await response.read()
        assert text.startswith(b"\xef\xbb\xbf")
        rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
        assert len(rows) == count
        assert rows[0]["equipment_name"] == WELDER.name
    assert rows[2]["equipment_name"] == "'=SUM(A1)"


async def test_acting_on_an_alarm(plant: Plant) -> None:
    path = "/api/monitor/alarms/a1"
    assert (await plant.operator.post(path + "/acknowledge")).body["acknowledged_by"] == "olga"
    assert (await plant.operator.post(path + "/shelve", {"minutes": 5, "comment": "known"})).status == 200
    assert (await plant.operator.post(path + "/unshelve")).body["shelved_until"] is None
    assert [event["state"] for event in plant.board.events] == ["acknowledged", "shelved", "unshelved"]
    assert (await plant.operator.post("/api/monitor/alarms/unknown/acknowledge")).error == (404, "NOT_FOUND")
    assert (await plant.operator.post(path + "/shelve", {"minutes": 0})).error == (422, "INVALID_MESSAGE")
    assert (await plant.operator.post(path + "/acknowledge", {"comment": "x" * 1001})).status == 422
    alarms = {state: (await plant.user.get("/api/monitor/alarms", state=state)).body for state in ("active", "past")}
    assert [len(page["alarms"]) for page in alarms.values()] == [1, 0]
