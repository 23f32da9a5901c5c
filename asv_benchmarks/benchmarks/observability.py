"""Recorders beside those of prometheus_client, censuses and collections beside the plain way."""

import gc
from collections import Counter
from typing import Any

import prometheus_client

from overdrive.observability import GarbageCollectionTuner, Metrics, PerformanceMonitor
from overdrive.observability.census import take_census

VALUES = [0.001 * i for i in range(1, 1001)]


class Recorders:
    """1,000 recordings on one thread."""

    params = (["overdrive", "prometheus_client"],)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        """Make the metrics."""
        self.counter: Any
        self.histogram: Any
        if way == "overdrive":
            metrics = Metrics()
            self.counter = metrics.counter("jobs_total")
            self.histogram = metrics.histogram("job_seconds")
            self.record = self.histogram.record
        else:
            registry = prometheus_client.CollectorRegistry()
            self.counter = prometheus_client.Counter("jobs", "Jobs", registry=registry)
            self.histogram = prometheus_client.Histogram("job_seconds", "Jobs", registry=registry)
            self.record = self.histogram.observe

    def time_count(self, way: str) -> None:
        """Count."""
        counter = self.counter
        for _ in VALUES:
            counter.inc()

    def time_record(self, way: str) -> None:
        """Record values."""
        record = self.record
        for value in VALUES:
            record(value)

    def time_time(self, way: str) -> None:
        """Time empty blocks."""
        histogram = self.histogram
        for _ in VALUES:
            with histogram.time():
                pass


class Requests:
    """1,000 timed blocks, with the monitor and with a histogram of prometheus_client."""

    params = (["overdrive", "prometheus_client"],)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        """Make what times."""
        if way == "overdrive":
            self.context: Any = PerformanceMonitor().time_api_request
        else:
            registry = prometheus_client.CollectorRegistry()
            self.context = prometheus_client.Histogram(
                "seconds", "Requests", registry=registry
            ).time

    def time_requests(self, way: str) -> None:
        """Time empty blocks."""
        context = self.context
        for _ in VALUES:
            with context():
                pass


class Census:
    """A million objects, counted by type."""

    params = (["overdrive", "plain"],)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        """Make the objects."""
        self.objects: list[list[None]] = [[] for _ in range(1_000_000)]

    def time_census(self, way: str) -> None:
        """Count them, and those that are there besides."""
        if way == "overdrive":
            take_census()
        else:
            Counter(type(one).__qualname__ for one in gc.get_objects())


class Collections:
    """Agents that replace their beliefs, tuned and not."""

    params = (["high_allocation", "plain"],)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        """Tune the collector, or do not."""
        self.tuner = GarbageCollectionTuner()
        if way != "plain":
            self.tuner.enable_tuning("high_allocation")

    def teardown(self, way: str) -> None:
        """Put the collector back."""
        self.tuner.disable_tuning()

    def time_steps(self, way: str) -> None:
        """Step 1,000 agents 50 times."""
        beliefs: list[dict[int, object]] = [{} for _ in range(1000)]
        for step in range(50):
            for belief in beliefs:
                belief[step] = {"step": [step], "seen": [step, step + 1]}
