"""What the server counts, in Prometheus's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from limbeck.index.changing import list_imbalance

if TYPE_CHECKING:
    from limbeck.serve.guard import Turnstile
    from limbeck.serve.service import Service

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """Requests by path and status, their seconds, and the state of what is served."""

    def __init__(self, service: Service, turnstile: Turnstile) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "limbeck_requests", "Requests answered", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "limbeck_request_seconds",
            "From the whole request to its answer",
            ["path"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_State(service, turnstile))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count one request. `path` is one of the app's own, never what a client typed."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All of them, as `/metrics` shows them."""
        return generate_latest(self.registry)


class _State(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self, service: Service, turnstile: Turnstile) -> None:
        self.service, self.turnstile = service, turnstile

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # else the registry would collect once at registration

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = self.service.live.current
        journal = self.service.journal
        figures: dict[str, tuple[str, float | None]] = {
            "documents": ("Documents served", len(now.searcher)),
            "index_bytes": ("Bytes of the index in memory", now.searcher.index.nbytes),
            "requests_inside": ("Requests searched or waiting", self.turnstile.inside),
            "last_change": ("Number of the last change that searches see", now.last_change),
            "pending_changes": (
                "Changes accepted and not seen yet",
                None if journal is None else max(0, journal.last() - now.last_change),
            ),
            "list_imbalance": (
                "1 = all lists equally long; 2 = searches read twice as many documents",
                list_imbalance(now.searcher.index),
            ),
        }
        drift = now.searcher.manifest.content.get("drift") or {}
        figures["distortion_trained"] = (
            "Squared error of the first documents' codes, as a share",
            drift.get("trained"),
        )
        figures["distortion_added"] = ("The same of documents added since", drift.get("added"))
        for name, (meaning, value) in figures.items():
            if value is not None:
                yield GaugeMetricFamily(f"limbeck_{name}", meaning, value=float(value))
