"""How the nodes are: their vitals, each second's figures, and what is wrong. Each answers for itself; who may ask is
decided by who asks."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from server.realtime.insight.alerts import REDIS_LOST, SOURCE_LOST, AlertRules
from server.realtime.insight.figures import TOTALS, Figures, columns
from server.realtime.insight.gathering import Gathering
from server.realtime.insight.views import View
from server.realtime.insight.vitals import Pulse
from server.realtime.others import Body
from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

SETTLED_SECONDS = 1.5  # from a second's beginning until every node has counted it
NODE, FIGURES, ALERTS = "admin node", "admin figures", "admin alerts"


class Redis(Protocol):
    """What a node in a cluster has of it."""

    @property
    def up(self) -> bool: ...

    @property
    def id(self) -> str: ...


class Held(Protocol):
    @property
    def waits_for_redis(self) -> int: ...

    @property
    def given_up(self) -> int: ...


class Inspector:
    def __init__(
        self,
        server: RealtimeServer,
        gathering: Gathering,
        *,
        version: str,
        seconds: int = 900,
        redis: Redis | None = None,
        held: Held | None = None,
        lost_sources: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`seconds` of figures are kept. `redis` and `held` of a node among many; `lost_sources`: equipment that this
        node reads and cannot, its name by code."""
        self._server = server
        self._gathering = gathering
        self._version = version
        self._redis = redis
        self._held = held
        self._lost_sources = lost_sources
        self._insight = server.insight
        self._figures = Figures(server.insight.meters, seconds=seconds)
        self._rules = AlertRules(server.insight.alerts)
        self._pulse = Pulse()
        self._started_at = time.time()
        self._redis_since = self._started_at
        self._redis_up: bool | None = None
        self._counted = (0, 0, 0)
        gathering.on(NODE, self._node_here)
        gathering.on(FIGURES, self._figures_here)
        gathering.on(ALERTS, self._alerts_here)

    @property
    def node(self) -> str:
        """Empty where there is only one."""
        return "" if self._redis is None else self._redis.id

    # -- each second --------------------------------------------------------------------------------------------

    async def start(self, app: object = None) -> None:
        """Its tasks end with the server's."""
        for namespace in self._server.served:
            self._figures.add(namespace.path, namespace.asks.counts, self._counter(namespace.path))
        self._server.tasks.start(self._pulse.probe(), "probe")
        self._server.tasks.start(self._run(), "figures")

    def _counter(self, namespace: str) -> Callable[[], int]:
        return lambda: len(self._server.manager.members(namespace, None))

    async def _run(self) -> None:
        """At the full seconds of the world's clock, as on every node."""
        while True:
            now = time.time()
            await asyncio.sleep(1 - now % 1 + 0.001)
            try:
                await self.second(int(time.time()) - 1)
            except Exception:  # one second that is not counted may not be the last
                log.exception("no figures")

    async def second(self, t: int) -> None:
        """That began at `t` is over."""
        vitals = await self._pulse.second()
        insight, counters = self._insight, self._server.eio.counters
        before, self._counted = self._counted, (counters.too_slow, counters.conflated, counters.dropped)
        peak_messages, peak_bytes = insight.take_peak()
        too_slow, conflated, dropped = (now - then for now, then in zip(self._counted, before, strict=True))
        row = self._figures.second(
            t,
            {
                "behind": len(insight.behind),
                "too_slow": too_slow,
                "conflated": conflated,
                "dropped": dropped,
                "rss_bytes": vitals.rss_bytes,
                "cpu_percent": vitals.cpu_percent,
                "redis_held": 0 if self._held is None else self._held.waits_for_redis,
                "outbox_peak_messages": peak_messages,
                "outbox_peak_bytes": peak_bytes,
                "loop_lag_ms": round(vitals.lag * 1000, 1),
            },
        )
        insight.recorder.prune()
        counted = {namespace: (values[0], values[2], values[3]) for namespace, (values, _, _) in row.namespaces.items()}
        self._rules.second(counted, vitals.lag)
        self._watch_redis()
        lost = self._lost_sources()
        insight.alerts.settle(
            SOURCE_LOST,
            {code: (f"{name} cannot be read", {"equipment": code, "name": name}) for code, name in lost.items()},
        )

    def _watch_redis(self) -> None:
        if self._redis is None:
            return
        if self._redis.up != self._redis_up:
            self._redis_up, self._redis_since = self._redis.up, time.time()
        if self._redis_up:
            self._insight.alerts.resolve(REDIS_LOST)
        else:
            self._insight.alerts.fire(REDIS_LOST, "Redis does not answer")

    # -- nodes --------------------------------------------------------------------------------------------------

    async def nodes(self) -> View:
        found = await self._gathering.ask(NODE, {})
        nodes = sorted(found.answers, key=lambda each: (each["started_at"], each["node"]))
        return {"nodes": [{**each, "this": each["node"] == self.node} for each in nodes], "silent": found.silent}

    async def _node_here(self, body: Body) -> Body:
        server, vitals, newest = self._server, self._pulse.vitals, self._figures.newest
        transports: Counter[str] = Counter(each.transport for each in server.eio.sessions.values())
        members = [each for namespace in server.served for each in server.manager.members(namespace.path, None)]
        values = () if newest is None else [values for values, _, _ in newest.namespaces.values()]
        return {
            "node": self.node,
            "version": self._version,
            "started_at": self._started_at,
            "uptime_s": round(time.time() - self._started_at, 1),
            "pid": os.getpid(),
            "draining": server.draining,
            "connections": {each.path: self._counter(each.path)() for each in server.served},
            "transports": {"websocket": transports["websocket"], "polling": transports["polling"]},
            "max_connections": server.bounds.max_connections,
            "rooms": sum(1 for _ in server.manager.rooms()),
            "recoverable": sum(1 for each in members if each.recoverable is not None),
            "process": {
                "rss_bytes": vitals.rss_bytes,
                "cpu_percent": vitals.cpu_percent,
                "loop_lag_ms": round(vitals.lag * 1000, 1),
                "loop_lag_peak_ms": round(vitals.lag_peak * 1000, 1),
                "threads": vitals.threads,
                "open_files": vitals.open_files,
            },
            "rates": {"events_in": sum(each[0] for each in values), "events_out": sum(each[1] for each in values)},
            "redis": {
                "state": "none" if self._redis is None else "up" if self._redis.up else "lost",
                "since": self._redis_since,
                "held": 0 if self._held is None else self._held.waits_for_redis,
                "lost": 0 if self._held is None else self._held.given_up,
            },
        }

    # -- figures and alerts -------------------------------------------------------------------------------------

    async def figures(self, *, after: int | None, seconds: int, node: str | None = None) -> View:
        """Those after the second `after`, or of the last `seconds`."""
        newest = int(time.time() - SETTLED_SECONDS)
        first = newest - seconds if after is None else max(after, newest - seconds)
        found = await self._gathering.ask(FIGURES, {"after": first})
        answers = [each for each in found.answers if node in (None, each["node"])]
        totals: dict[str, Counter[str]] = {}
        for each in answers:
            for namespace, counted in each["totals"].items():
                totals.setdefault(namespace, Counter()).update(counted)
        return {
            **columns((row for each in answers for row in each["rows"]), first, newest),
            "step_s": 1,
            "nodes": sorted(each["node"] for each in answers),
            "silent": found.silent,
            "totals": {
                namespace: {name: counted[name] for name in TOTALS} for namespace, counted in sorted(totals.items())
            },
        }

    async def _figures_here(self, body: Body) -> Body:
        rows = [list(row) for row in self._figures.since(body["after"])]
        return {"node": self.node, "rows": rows, "totals": self._figures.totals}

    async def alerts(self) -> View:
        found = await self._gathering.ask(ALERTS, {})
        alerts = [alert for each in found.answers for alert in each["alerts"]]
        alerts.sort(key=lambda each: (each["state"] != "firing", -each["last_at"]))
        return {"alerts": alerts, "silent": found.silent}

    async def _alerts_here(self, body: Body) -> Body:
        return {
            "alerts": [
                {
                    "id": f"{self.node}:{each.id}",
                    "kind": each.kind,
                    "severity": each.severity,
                    "state": "firing" if each.until is None else "resolved",
                    "node": self.node,
                    "since": each.since,
                    "until": each.until,
                    "last_at": each.last_at,
                    "count": each.count,
                    "text": each.text,
                    "details": dict(each.details),
                }
                for each in self._insight.alerts.shown()
            ]
        }
