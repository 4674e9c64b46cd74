"""What a load test counts, and how it is told. It measures nothing itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from clients.python.load.histogram import Histogram

PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(slots=True)
class Results:
    """`seconds` since the load began. `acks` are answers to what was sent, `deliveries` what others heard of it;
    `late`: what could not be sent in time, because too much was under way."""

    what: str
    clients: int
    rate: float
    connected: int = 0
    seconds: float = 0.0
    sent: int = 0
    late: int = 0
    acks: Histogram = field(default_factory=Histogram)
    deliveries: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, object]:
        """Times in milliseconds."""
        told: dict[str, object] = {
            "what": self.what,
            "clients": self.clients,
            "connected": self.connected,
            "rate": self.rate,
            "seconds": round(self.seconds, 2),
            "sent": self.sent,
            "late": self.late,
        }
        for name, histogram in (("acks", self.acks), ("deliveries", self.deliveries)):
            times = {each: histogram.percentile(share) for each, share in PERCENTILES}
            told[name] = {
                "count": histogram.count,
                "per_second": round(histogram.count / self.seconds, 1) if self.seconds else 0.0,
                **{f"{each}_ms": None if value is None else round(value * 1000, 2) for each, value in times.items()},
                "max_ms": round(histogram.longest * 1000, 2) if histogram.count else None,
            }
        told["errors"] = dict(self.errors.most_common())
        return told

    def lines(self) -> list[str]:
        """Name and value, a line each."""
        told = self.to_json()
        lines = [
            f"{name:<12} {told[name]}" for name in ("what", "clients", "connected", "rate", "seconds", "sent", "late")
        ]
        for name in ("acks", "deliveries"):
            values = told[name]
            if isinstance(values, dict) and values["count"]:
                lines.append(f"{name:<12} " + "  ".join(f"{key} {value}" for key, value in values.items()))
        lines += [f"{'error':<12} {code} {count}" for code, count in self.errors.most_common()]
        return lines
