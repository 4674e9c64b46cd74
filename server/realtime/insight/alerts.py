"""What is wrong now, and what was in the last hour. What counts as wrong is told by `AlertRules`; nobody is sent
anything.

Kept are the newest `MAX_ALERTS`, one for each kind and subject, which counts how often it came.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MAX_ALERTS = 200
KEPT_SECONDS = 3600.0

SLOW_READER = "slow_reader"
REDIS_LOST = "redis_lost"
SOURCE_LOST = "source_lost"
ERROR_RATE = "error_rate"
CONNECTION_SURGE = "connection_surge"
LOOP_LAG = "loop_lag"

SEVERITIES = {REDIS_LOST: "critical"}  # of all others: warning

#: Of a minute, in one namespace.
LEAST_ERRORS, ERROR_SHARE = 20, 0.1
#: Of a minute: at least so many connects, and so many times the usual.
LEAST_CONNECTS, SURGE_TIMES = 100, 5.0
USUAL_MINUTES = 15
LAG_SECONDS = 0.25


@dataclass(slots=True)
class Alert:
    """Times in seconds since the epoch; `until` is None while it is so."""

    id: str
    kind: str
    text: str
    since: float
    last_at: float
    until: float | None
    count: int = 1
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        return SEVERITIES.get(self.kind, "warning")


class Alerts:
    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._alerts: dict[tuple[str, str], Alert] = {}

    def fire(self, kind: str, text: str, *, of: str = "", details: Mapping[str, object] | None = None) -> None:
        """It is so from now on, until `resolve`. `of`: whose, where there may be several."""
        now, alert = self._now(), self._alerts.get((kind, of))
        if alert is not None and alert.until is None:
            alert.last_at, alert.text, alert.details = now, text, details or {}
            return
        self._begin(kind, of, text, details, now, None)

    def resolve(self, kind: str, *, of: str = "") -> None:
        alert = self._alerts.get((kind, of))
        if alert is not None and alert.until is None:
            alert.until = alert.last_at = self._now()

    def happened(self, kind: str, text: str, *, of: str = "", details: Mapping[str, object] | None = None) -> None:
        """A moment, over as soon as it is told."""
        now = self._now()
        self._begin(kind, of, text, details, now, now)

    def settle(self, kind: str, firing: Mapping[str, tuple[str, Mapping[str, object]]]) -> None:
        """All of one kind that there are now, by whose: text and details."""
        for of, (text, details) in firing.items():
            self.fire(kind, text, of=of, details=details)
        for (of_kind, of), _ in list(self._alerts.items()):
            if of_kind == kind and of not in firing:
                self.resolve(kind, of=of)

    def shown(self) -> list[Alert]:
        """What is so now first, and the newest first."""
        self._prune()
        return sorted(self._alerts.values(), key=lambda each: (each.until is not None, -each.last_at))

    def _begin(
        self, kind: str, of: str, text: str, details: Mapping[str, object] | None, now: float, until: float | None
    ) -> None:
        earlier = self._alerts.pop((kind, of), None)
        count = 1 if earlier is None or now - earlier.last_at > KEPT_SECONDS else earlier.count + 1
        id = f"{kind}:{of}" if of else kind
        self._alerts[kind, of] = Alert(id, kind, text, now, now, until, count, details or {})
        if len(self._alerts) > MAX_ALERTS:
            over = next((key for key, each in self._alerts.items() if each.until is not None), next(iter(self._alerts)))
            del self._alerts[over]

    def _prune(self) -> None:
        before = self._now() - KEPT_SECONDS
        for key, alert in list(self._alerts.items()):
            if alert.until is not None and alert.until < before:
                del self._alerts[key]


class Minute:
    """The sum of the last sixty values, one a second."""

    def __init__(self) -> None:
        self._values: deque[int] = deque(maxlen=60)
        self.sum = 0

    def add(self, value: int) -> None:
        if len(self._values) == 60:
            self.sum -= self._values[0]
        self._values.append(value)
        self.sum += value


class AlertRules:
    """Judges each second's figures, and fires what they mean."""

    def __init__(self, alerts: Alerts) -> None:
        self.alerts = alerts
        self._errors: dict[str, tuple[Minute, Minute]] = {}  # and events
        self._connects = Minute()
        self._minutes: deque[int] = deque(maxlen=USUAL_MINUTES)
        self._seconds = 0

    def second(self, counted: Mapping[str, tuple[int, int, int]], lag: float) -> None:
        """`counted`: events, errors and connects of the second by namespace; `lag` of the loop, in seconds."""
        wrong: dict[str, tuple[str, Mapping[str, object]]] = {}
        for namespace, (events, errors, _) in counted.items():
            of_events, of_errors = self._errors.setdefault(namespace, (Minute(), Minute()))
            of_events.add(events)
            of_errors.add(errors)
            if of_errors.sum >= LEAST_ERRORS and of_errors.sum > ERROR_SHARE * of_events.sum:
                text = f"{of_errors.sum} of {of_events.sum} events on {namespace} failed or were refused in a minute"
                wrong[namespace] = text, {"namespace": namespace, "errors": of_errors.sum, "events": of_events.sum}
        self.alerts.settle(ERROR_RATE, wrong)
        self._surge(sum(connects for _, _, connects in counted.values()))
        if lag > LAG_SECONDS:
            self.alerts.happened(
                LOOP_LAG, f"The event loop was held up for {lag * 1000:.0f} ms", details={"lag_ms": round(lag * 1000)}
            )

    def _surge(self, connects: int) -> None:
        """Of the first minute nobody knows whether it is usual: a server that starts gets all its clients at once."""
        self._connects.add(connects)
        self._seconds += 1
        usual = sum(self._minutes) / len(self._minutes) if self._minutes else None
        if usual is not None and self._connects.sum >= max(LEAST_CONNECTS, SURGE_TIMES * usual):
            text = f"{self._connects.sum} connects in a minute, where {usual:.0f} are usual"
            details = {"connects": self._connects.sum, "usual": round(usual, 1)}
            self.alerts.fire(CONNECTION_SURGE, text, details=details)
        elif usual is None or self._connects.sum < max(LEAST_CONNECTS, SURGE_TIMES * usual) / 2:
            self.alerts.resolve(CONNECTION_SURGE)
        if self._seconds % 60 == 0:
            self._minutes.append(self._connects.sum)
