"""The recorders beside those of prometheus_client."""

from typing import Any

import prometheus_client

from overdrive.observability import Metrics

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
