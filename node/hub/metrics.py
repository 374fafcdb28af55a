"""Figures for Prometheus, of one hub process: what came in, how long it took, how far things are."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from node.connections import Connections
from node.hub.admission import REASONS, Admission
from node.hub.hub import Hub

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """A registry of its own for each hub, so that several may live in one process."""

    def __init__(self, hub: Hub) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "simpul_hub_requests", "Requests by route and status", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "simpul_hub_request_seconds", "Time to the answer", ["route"], buckets=_SECONDS, registry=self._registry
        )
        size = Gauge("simpul_hub_log_size", "Published leaves", registry=self._registry)
        size.set_function(lambda: hub.log.size)
        projected = Gauge("simpul_hub_projected_size", "Leaves in the projection", registry=self._registry)
        projected.set_function(lambda: hub.projector.cursor.size)
        self._turned_away = Counter(
            "simpul_hub_turned_away",
            "Requests answered 503, by reason: share (of one agency or stranger), line (full), waited (in vain), slow",
            ["reason"],
            registry=self._registry,
        )
        for reason in REASONS:
            self._turned_away.labels(reason)
        threads = Gauge("simpul_hub_waiting_for_threads", "Pieces of verifying that wait", registry=self._registry)
        threads.set_function(lambda: hub.intake.waiting)
        waiting = Gauge("simpul_hub_waiting", "Submissions waiting for the log", registry=self._registry)
        waiting.set_function(lambda: hub.appender.waiting)
        signing = Gauge("simpul_hub_signing", "1 while the hub signs, 0 while recovering", registry=self._registry)
        signing.set_function(lambda: float(hub.log.recovering is None and hub.log.broken is None))

    def turned_away(self, reason: str) -> None:
        """One more."""
        self._turned_away.labels(reason).inc()

    def watch(self, admission: Admission, connections: Connections) -> None:
        """From now on their figures are told as well."""
        for name, what, figure in (
            ("simpul_hub_admitted", "Bodies being read or worked on", lambda: admission.requests),
            ("simpul_hub_in_line", "Requests that wait before their body is read", lambda: admission.waiting),
            ("simpul_hub_body_bytes", "Memory claimed for bodies", lambda: admission.bytes),
            ("simpul_hub_connections", "Open connections", lambda: connections.count),
            ("simpul_hub_connections_ended", "Connections that were silent, and ended", lambda: connections.ended),
        ):
            Gauge(name, what, registry=self._registry).set_function(figure)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
