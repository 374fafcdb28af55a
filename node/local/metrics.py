"""What a local node tells Prometheus. One registry per server: nothing global."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from node.local.status import HALTED, NodeStatus

METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class LocalMetrics:
    """Counters of this process, and gauges that are set from the store when they are asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "simpul_intake_requests", "Requests to the intake", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "simpul_intake_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.recorded = Counter("simpul_intake_recorded", "Changes recorded", ["type"], registry=self.registry)
        self._gauges = {
            name: Gauge(f"simpul_node_{name}", text, registry=self.registry)
            for name, text in (
                ("unsent_changes", "Changes in no set yet"),
                ("unacknowledged_changes", "Changes in signed sets without a receipt"),
                ("last_receipt_age_seconds", "Since the newest receipt; absent before the first: -1"),
                ("halted", "1 while an operator is needed"),
                ("sequence", "Newest signed change set"),
                ("acknowledged_sequence", "Newest change set with a receipt"),
                ("set_aside_changes", "Changes of an old backup that are not possible any more"),
            )
        }

    def render(self, status: NodeStatus) -> bytes:
        """The exposition text."""
        age_s = status.last_receipt_age_s
        values = {
            "unsent_changes": status.unsent,
            "unacknowledged_changes": status.unacknowledged,
            "last_receipt_age_seconds": -1 if age_s is None else age_s,
            "halted": status.pusher == HALTED,
            "sequence": status.seq,
            "acknowledged_sequence": status.acknowledged_seq,
            "set_aside_changes": status.set_aside,
        }
        for name, value in values.items():
            self._gauges[name].set(value)
        return generate_latest(self.registry)
