"""The recorders beside those of prometheus_client, and what monitor, census and tuner cost."""

import gc
import statistics
import sys
import threading
import time
from collections.abc import Iterator

import prometheus_client

from figures.interleaved import Row, loops
from overdrive.observability import (
    Counter,
    GarbageCollectionTuner,
    Histogram,
    Metrics,
    PerformanceMonitor,
)
from overdrive.observability.census import take_census

__all__ = ["rows"]

VALUES = [0.001 * i for i in range(1, 1001)]
MILLION = 1_000_000
WATCHED = 20
"""Seconds for which the monitor is watched."""


def rows() -> Iterator[Row]:
    """Measure; one thread unless it says otherwise."""
    yield from _recorders()
    yield from _two_threads()
    yield _monitor()
    yield _census()
    yield _tuning()


def _recorders() -> Iterator[Row]:
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
        "monitor": PerformanceMonitor(),
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
        "with monitor.time_api_request()": (
            "\n    with monitor.time_api_request(): pass",
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


def _two_threads() -> Iterator[Row]:
    """Compare what two threads get done with what one does, which only pays without the lock."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return
    for what, record in {"counter.inc()": Counter().inc, "histogram": Histogram().record}.items():
        one = statistics.median(_threads(1, record) for _ in range(9))
        two = statistics.median(_threads(2, record) for _ in range(9))
        yield Row(f"{what}, twice as much on two threads", two, "one thread", one, 2 / 1.7, "ms")


def _threads(count: int, record: object) -> float:
    def work() -> None:
        call = record
        for value in VALUES * 200:
            call(value)  # type: ignore[operator] # a method of a recorder

    threads = [threading.Thread(target=work) for _ in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) * 1e3


def _monitor() -> Row:
    """Measure the processor time of a process that only monitors itself."""
    with PerformanceMonitor():
        began = time.process_time()
        time.sleep(WATCHED)  # what is measured is what goes on meanwhile
        spent = time.process_time() - began
    share = spent / WATCHED * 1e6
    return Row("monitor, with its sampler", share, "0.5 % of a processor", 5000, 1.0, "us/s")


def _census() -> Row:
    kept: list[list[None]] = [[] for _ in range(MILLION)]
    censuses = [take_census().seconds * 1e3 for _ in range(7)]
    del kept
    return Row("census of a million objects", statistics.median(censuses), "limit", 200, 1.0, "ms")


def _tuning() -> Row:
    """Compare what collections take on an allocation-heavy run, untuned and tuned."""
    untuned, tuned = [], []
    for _ in range(3):
        untuned.append(_collecting(tuned=False))
        tuned.append(_collecting(tuned=True))
    ours, theirs = statistics.median(tuned), statistics.median(untuned)
    return Row("collections, high_allocation", ours, "untuned", theirs, 0.5, "ms")


def _collecting(*, tuned: bool) -> float:
    gc.collect()
    tuner = GarbageCollectionTuner()
    tuner.start_measuring()
    if tuned:
        tuner.enable_tuning("high_allocation")
    try:
        _run_agents()
        cost = tuner.get_evidence()["after"]
    finally:
        tuner.disable_tuning()
    return 0.0 if cost is None else cost.pause_seconds * 1e3


def _run_agents(agents: int = 3000, steps: int = 60) -> None:
    """Have agents replace beliefs and keep a window of observations, all new objects."""
    beliefs: list[dict[int, object]] = [{} for _ in range(agents)]
    histories: list[list[object]] = [[] for _ in range(agents)]
    for step in range(steps):
        for belief, history in zip(beliefs, histories, strict=True):
            belief[step % 50] = {"step": [step], "seen": [step, step + 1]}
            history.append((step, {"observation": [step]}))
            if len(history) > 30:
                del history[:15]
