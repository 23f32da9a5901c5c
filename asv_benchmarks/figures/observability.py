"""The recorders beside those of prometheus_client."""

import time
from collections.abc import Iterator

import prometheus_client

from figures.interleaved import Row, loops
from overdrive.observability import Counter, Histogram, Metrics

__all__ = ["rows"]

VALUES = [0.001 * i for i in range(1, 1001)]


def rows() -> Iterator[Row]:
    """Measure; one thread."""
    registry = prometheus_client.CollectorRegistry()
    theirs = {
        "counter_p": prometheus_client.Counter("jobs", "Jobs", registry=registry),
        "histogram_p": prometheus_client.Histogram("job_seconds", "Jobs", registry=registry),
        "family_p": prometheus_client.Counter("kinds", "Jobs", ["kind"], registry=registry),
    }
    ours = {
        "counter": Counter(),
        "histogram": Histogram(),
        "family": Metrics().counter("kinds", labels=("kind",)),
    }
    names = ours | theirs | {"clock": time.perf_counter}
    pairs = {
        "counter.inc()": ("counter.inc()", "counter_p.inc()", 0.2),
        "histogram.record(v)": ("histogram.record(k)", "histogram_p.observe(k)", 0.2),
        "with histogram.time()": (
            "\n    with histogram.time(): pass",
            "\n    with histogram_p.time(): pass",
            0.2,
        ),
        "family.labels(kind).inc()": ("family.labels('x').inc()", "family_p.labels('x').inc()", 1),
    }
    for what, (statement, other, target) in pairs.items():
        taken = loops({"ours": statement, "theirs": other}, names, VALUES)
        yield Row(what, taken["ours"], "prometheus_client", taken["theirs"], target)
    taken = loops(
        {"ours": "\n    with histogram.time(): pass", "clock": "clock(); clock()"}, names, VALUES
    )
    yield Row("with histogram.time()", taken["ours"], "two clock reads", taken["clock"])
