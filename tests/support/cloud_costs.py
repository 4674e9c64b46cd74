"""A cloud-cost copilot's demo: three datasets as a browser's IndexedDB would hold them, and a client offering them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

Rows = list[dict[str, Any]]

TODAY = date(2025, 11, 5)
SERVICES = {
    "EC2": ("AWS", 42.0),
    "S3": ("AWS", 9.5),
    "RDS": ("AWS", 21.0),
    "Lambda": ("AWS", 3.2),
    "BigQuery": ("GCP", 14.0),
    "Blob Storage": ("Azure", 6.4),
}
REGIONS = {"ap-northeast-2": 1.0, "us-east-1": 0.7, "eu-west-1": 0.4}
TEAMS = ("platform", "search", "payments", "mobile")


def costs(seed: int = 7) -> Rows:
    """Daily since 2024-10-01, until yesterday; costs grow, weekends are cheaper, a few records are refunds."""
    chance = random.Random(seed)  # noqa: S311 - a demo, the same every time
    rows: Rows = []
    day = date(2024, 10, 1)
    while day < TODAY:
        grown = 1 + (day - date(2024, 10, 1)).days / 900
        for service, (provider, price) in SERVICES.items():
            for region, share in REGIONS.items():
                quiet = 0.8 if day.weekday() > 4 else 1
                cost = round(price * share * grown * quiet * chance.uniform(0.8, 1.25), 2)
                rows.append(
                    {
                        "date": day.isoformat(),
                        "provider": provider,
                        "service": service,
                        "region": region,
                        "team": chance.choice(TEAMS),
                        "cost": -cost if chance.random() < 0.004 else cost,
                        "usage_hours": chance.randint(1, 24),
                    }
                )
        day += timedelta(days=1)
    return rows


def budgets(seed: int = 8) -> Rows:
    chance = random.Random(seed)  # noqa: S311 - a demo, the same every time
    return [
        {"month": f"2025-{month:02}", "team": team, "budget": chance.randrange(1500, 4000, 100), "currency": "USD"}
        for month in range(1, 13)
        for team in TEAMS
    ]


def instances(seed: int = 9) -> Rows:
    chance = random.Random(seed)  # noqa: S311 - a demo, the same every time
    return [
        {
            "instance_id": f"i-{number:05x}",
            "region": chance.choice(list(REGIONS)),
            "team": chance.choice(TEAMS),
            "instance_type": chance.choice(("t3.micro", "m5.large", "c5.xlarge")),
            "status": chance.choice(("running", "running", "running", "stopped", "idle")),
            "created": (date(2024, 1, 1) + timedelta(days=chance.randrange(670))).isoformat(),
            "cpu_percent": round(chance.uniform(0, 100), 1),
            "memory_gb": chance.choice((1, 8, 16)),
        }
        for number in range(2400)
    ]


TABLES: dict[str, Rows] = {"cloud_costs": costs(), "team_budgets": budgets(), "instances": instances()}
DATASETS: list[dict[str, Any]] = [
    {
        "name": "cloud_costs",
        "description": "일별 클라우드 비용: 서비스, 리전, 팀별 / Daily cloud cost by service, region and team",
        "columns": [
            {"name": "date", "type": "date"},
            {"name": "provider", "type": "string", "values": ["AWS", "GCP", "Azure"]},
            {"name": "service", "type": "string", "values": list(SERVICES)},
            {"name": "region", "type": "string"},
            {"name": "team", "type": "string"},
            {"name": "cost", "type": "number"},
            {"name": "usage_hours", "type": "number"},
        ],
    },
    {
        "name": "team_budgets",
        "description": "팀별 월 예산 / Monthly budget of each team",
        "columns": ["month", "team", "budget", "currency"],
    },
    {
        "name": "instances",
        "description": "가상 서버 인스턴스 목록과 CPU, 메모리 / Inventory of virtual servers",
        "columns": {name: "number" if name in ("cpu_percent", "memory_gb") else "string" for name in instances()[0]},
    },
]

Page = Callable[[Sequence[dict[str, Any]], Mapping[str, Any]], Sequence[dict[str, Any]]]


def paged(rows: Sequence[dict[str, Any]], params: Mapping[str, Any]) -> Rows:
    """As an honest client does: period, filters, columns, offset and limit."""
    if "from" in params:
        dated = next((name for name in ("date", "month") if rows and name in rows[0]), None)
        if dated is not None:
            rows = [row for row in rows if params["from"][: len(row[dated])] <= row[dated] <= params["to"]]
    for name, values in params.get("filters", {}).items():
        rows = [row for row in rows if row.get(name) in values]
    rows = rows[params["offset"] : params["offset"] + params["limit"]]
    wanted = params.get("columns")
    return [{name: row[name] for name in wanted if name in row} if wanted else dict(row) for row in rows]


class DemoClient:
    """`service.Client` over tables; `page` is how it takes params, `answers` are what its person says."""

    def __init__(
        self,
        tables: Mapping[str, Rows] = TABLES,
        datasets: Sequence[Mapping[str, Any]] = DATASETS,
        answers: Sequence[str] = (),
        page: Page = paged,
    ) -> None:
        self.tables = tables
        self.datasets = datasets
        self.answers = list(answers)
        self.page = page
        self.questions: list[tuple[str, list[str]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.told: list[tuple[str, Mapping[str, object]]] = []

    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]:
        return self.datasets

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
        self.asked.append((dataset, dict(params)))
        return self.page(self.tables[dataset], params)

    async def clarify(self, question: str, options: Sequence[str]) -> str:
        self.questions.append((question, list(options)))
        return self.answers.pop(0)

    async def tell(self, event: str, payload: Mapping[str, object]) -> None:
        self.told.append((event, payload))
