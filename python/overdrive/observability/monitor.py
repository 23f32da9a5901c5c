"""`PerformanceMonitor`: times what it is given, reads the rest, and says what is wrong."""

import asyncio
import atexit
import gc
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from overdrive import sources
from overdrive._core import GcMeter, GilSampler, Histogram, HistogramSnapshot, Timing
from overdrive.errors import OverdriveError
from overdrive.observability.alerts import DEFAULT_THRESHOLDS, Alert, AlertBook, Threshold
from overdrive.observability.exports import to_prometheus
from overdrive.observability.insights import Evidence, Insight, insights
from overdrive.observability.loops import Block, LoopWatch
from overdrive.observability.metrics import Family, Metrics
from overdrive.observability.readings import Gil, Reading, rates
from overdrive.observability.report import describe, gil_reason, latency, totals
from overdrive.observability.threads import ThreadSamples

__all__ = ["PerformanceMonitor"]

logger = logging.getLogger("overdrive.observability")

Source = Callable[[], Mapping[str, float]]
Callback = Callable[[Alert], object]

WINDOW = 11
"""Readings that are kept: insights are about the time between the first and the last."""

LAST_WAIT = 1.0
"""Seconds for which the end of the process waits for the monitor's thread."""

LOOK = 0.2
"""Seconds between looks at the threads, and at the event loops."""

_TIMED = {
    "api": ("overdrive_api_request_seconds", "endpoint", "Time to answer requests."),
    "database": ("overdrive_db_query_seconds", "statement", "Time that queries take."),
    "agents": ("overdrive_agent_step_seconds", "agent_class", "Time that steps of agents take."),
    "websocket": ("overdrive_websocket_message_seconds", "path", "Time to handle messages."),
}


class PerformanceMonitor:
    """Times operations, reads the system, raises alerts, and explains.

    Timing works at once. The rest needs `start_monitoring`, which starts one thread, and on a build
    with the global interpreter lock one more that samples it. They end with `stop_monitoring` and
    never keep the process alive. All methods may be called from any thread. A forked child begins
    with everything at zero and does not monitor until it is told to.

    Args:
        interval: Seconds between two readings.
        gil_interval: Mean seconds between two samples of the interpreter lock.
        thresholds: From where on figures are alerts; see `set_thresholds`.
        metrics: Where the histograms are kept; by default in metrics of its own.
    """

    def __init__(
        self,
        *,
        interval: float = 1.0,
        gil_interval: float = 0.05,
        thresholds: Mapping[str, Threshold | Mapping[str, float]] = DEFAULT_THRESHOLDS,
        metrics: Metrics | None = None,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be positive, not {interval}")
        self.interval = interval
        self.gil_interval = gil_interval
        self.metrics = Metrics() if metrics is None else metrics
        self._timed: dict[str, Family[Histogram]] = {
            name: self.metrics.histogram(metric, description, labels=(label,), counts=name)
            for name, (metric, label, description) in _TIMED.items()
        }
        self._api, self._database, self._agents, self._websocket = (
            family.labels("") for family in self._timed.values()
        )
        self._lag = self.metrics.histogram("overdrive_event_loop_lag_seconds", "Lateness of loops.")
        self._alerts = AlertBook(_thresholds(thresholds))
        self._callbacks: list[Callback] = []
        self._sources: dict[str, Source] = {}
        self._meter = GcMeter()
        self._fed_before = sources.durations()
        self._errors_before = sources.errors()
        self._begin()
        _instances.add(self)

    def _begin(self) -> None:
        """Set up what does not survive a fork."""
        self._lock = threading.RLock()
        self._control = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._gil: GilSampler | None = None
        self._watches: list[LoopWatch] = []
        self._threads = ThreadSamples()
        self._readings: deque[Reading] = deque(maxlen=WINDOW)
        self._statements: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self._blocks: deque[tuple[float, Block]] = deque(maxlen=100)
        self._reader: Any = None
        self._overhead = 0.0
        self._began = time.monotonic()

    # Timing

    def time_api_request(self, endpoint: str | None = None) -> Timing:
        """Return a context that times the answer to a request.

        Args:
            endpoint: Its route, not its path: there are at most 100.
        """
        return (self._api if endpoint is None else self._timed["api"].labels(endpoint)).time()

    def time_db_query(self, statement: str | None = None) -> Timing:
        """Return a context that times a query.

        Args:
            statement: Its normalised text: there are at most 100.
        """
        if statement is None:
            return self._database.time()
        return self._timed["database"].labels(statement).time()

    def time_agent_step(self, agent_class: str | None = None) -> Timing:
        """Return a context that times a step of an agent.

        Args:
            agent_class: The name of its class: there are at most 100.
        """
        if agent_class is None:
            return self._agents.time()
        return self._timed["agents"].labels(agent_class).time()

    def time_websocket_message(self, path: str | None = None) -> Timing:
        """Return a context that times the handling of a message.

        Args:
            path: Its route: there are at most 100.
        """
        if path is None:
            return self._websocket.time()
        return self._timed["websocket"].labels(path).time()

    def add_source(self, name: str, read: Source) -> None:
        """Have more figures read; they appear in `current_metrics` as `NAME.FIGURE`.

        A source that has `size`, `in_use` and `waiting` is understood as a pool. One that raises is
        logged, and left out until it works again. Another one of the same name is replaced.
        """
        with self._lock:
            self._sources[name] = read

    def remove_source(self, name: str) -> None:
        """Read a source no longer. It need not be there."""
        with self._lock:
            self._sources.pop(name, None)

    # Alerts

    def set_thresholds(self, thresholds: Mapping[str, Threshold | Mapping[str, float]]) -> None:
        """Replace thresholds of some metrics; the others stay.

        Args:
            thresholds: By names of `current_metrics`, each a `Threshold` or its arguments, such as
                `{"cpu_usage": {"warning": 80.0, "critical": 95.0}}`.

        Raises:
            ValueError: If one makes no sense.
        """
        made = _thresholds(thresholds)
        with self._lock:
            for metric, threshold in made.items():
                self._alerts.set_threshold(metric, threshold)

    def add_alert_callback(self, callback: Callback) -> None:
        """Have a function called with each new alert, on the monitor's thread.

        What it raises is logged, and keeps neither the others nor the monitor from going on.
        """
        with self._lock:
            self._callbacks.append(callback)

    def remove_alert_callback(self, callback: Callback) -> None:
        """Call a function no longer.

        Raises:
            ValueError: If it is not called now.
        """
        with self._lock:
            self._callbacks.remove(callback)

    def get_active_alerts(self) -> list[Alert]:
        """Return the alerts that are on."""
        with self._lock:
            return self._alerts.active

    def get_alert_history(self) -> list[Alert]:
        """Return the latest beginnings, changes and ends of alerts, oldest first."""
        with self._lock:
            return list(self._alerts.history)

    # Monitoring

    @property
    def is_monitoring(self) -> bool:
        """Whether the monitor's thread runs."""
        return self._thread is not None

    def start_monitoring(self) -> None:
        """Start to read; nothing changes if that is so already.

        Raises:
            MissingExtraError: If psutil is not installed.
        """
        if threading.current_thread() is self._thread:
            return  # a callback does not wait for who waits for it
        with self._control:
            if self._thread is not None:
                return
            self.sample(alert=False)
            gc.callbacks.append(self._meter)
            if gil_reason() is None:
                self._gil = GilSampler(self.gil_interval)
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name="overdrive-monitor", daemon=True)
            self._thread.start()
            atexit.register(self._stop_at_exit)

    def stop_monitoring(self) -> None:
        """Stop to read, and return when the threads have ended. What was read stays.

        Raises:
            OverdriveError: If this is called by a callback, on the thread that is to end.
        """
        if threading.current_thread() is self._thread:
            raise OverdriveError("a callback of the monitor cannot wait for the monitor to stop")
        self._stop(None)

    def _stop_at_exit(self) -> None:
        """Stop, but let no callback that hangs keep the process alive."""
        self._stop(LAST_WAIT)

    def _stop(self, timeout: float | None) -> None:
        with self._control:
            thread, gil = self._thread, self._gil
            if thread is None:
                return
            self._wake.set()
            thread.join(timeout)
            if gil is not None:
                gil.stop()
            self._forget_meter()
            with self._lock:
                watches, self._watches = self._watches, []
            for watch in watches:
                watch.stop()
            self._thread = None
            atexit.unregister(self._stop_at_exit)

    def __enter__(self) -> Self:
        self.start_monitoring()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_monitoring()

    def watch_event_loop(self, loop: asyncio.AbstractEventLoop | None = None) -> LoopWatch:
        """Measure how late a loop is, and where its thread is when it is very late.

        Args:
            loop: The loop; by default the one that runs here.

        Returns:
            The watch; its `stop()` ends it, and so does `stop_monitoring`.
        """
        watch = LoopWatch(asyncio.get_running_loop() if loop is None else loop, self._lag)
        with self._lock:
            self._watches = [old for old in self._watches if not old.is_over] + [watch]
        watch.start()
        return watch

    def _forget_meter(self) -> None:
        if self._meter in gc.callbacks:
            gc.callbacks.remove(self._meter)

    def _run(self) -> None:
        due = time.monotonic() + self.interval
        while not self._wake.wait(min(LOOK, self.interval)):
            try:
                self._look()
                if time.monotonic() >= due:
                    self.sample()
                    due = time.monotonic() + self.interval
            except Exception:
                logger.exception("a reading failed")
            self._overhead = time.thread_time()

    def _look(self) -> None:
        self._threads.look()
        with self._lock:
            watches = self._watches
        now = time.monotonic()
        for watch in watches:
            block = watch.check(now)
            if block is not None:
                self._blocks.append((now, block))

    def sample(self, *, alert: bool = True) -> Reading:
        """Read everything now, as the monitor's thread does at each interval.

        Args:
            alert: Whether to compare with the thresholds too.
        """
        values = self._read_sources()
        with self._lock:
            reading = self._read(values)
            self._keep(reading)
            if not alert or len(self._readings) < 2:  # noqa: PLR2004 - two make a difference
                return reading
            figures = rates(self._readings[-2], reading)
            news = self._alerts.evaluate(reading.at, figures)
            callbacks = list(self._callbacks)
        for item in news:
            logger.log(
                logging.INFO if item.resolved else logging.WARNING, "alert: %s", item.message
            )
            for callback in callbacks:
                _call(callback, item)
        return reading

    def _keep(self, reading: Reading) -> None:
        self._readings.append(reading)
        self._statements.append(_seconds(self._timed["database"]))

    def _read_sources(self) -> dict[str, float]:
        """Ask the sources, with no lock held."""
        values: dict[str, float] = {}
        with self._lock:
            given = list(self._sources.items())
        fed = [(source.name, source.figures) for source in sources.live()]
        for name, read in fed + given:
            try:
                values |= {f"{name}.{figure}": float(v) for figure, v in read().items()}
            except Exception:
                logger.exception("the source %s failed", name)
        return values

    def _read(self, values: dict[str, float]) -> Reading:
        if self._reader is None:
            from overdrive.observability._psutil import SystemReader  # noqa: PLC0415 - optional

            self._reader = SystemReader()
        system = self._reader.read()
        durations, failed = self._fed(), sources.errors()
        errors = {}
        for name, family in self._timed.items():
            durations[name] = durations.get(name, HistogramSnapshot()) + _merged(family)
            errors[name] = sum(histogram.errors for _, histogram in family.series())
            errors[name] += failed.get(name, 0.0) - self._errors_before.get(name, 0.0)
        return Reading(
            at=time.monotonic(),
            cpu_seconds=system.cpu_seconds,
            processors=system.processors,
            system_cpu_seconds=system.system_cpu_seconds,
            system_processors=system.system_processors,
            memory_rss_bytes=system.memory_rss_bytes,
            memory_usage=system.memory_usage,
            thread_count=system.thread_count,
            voluntary_switches=system.voluntary_switches,
            involuntary_switches=system.involuntary_switches,
            gil=None if self._gil is None else Gil(*self._gil.read()),
            pauses=self._meter.pauses(),
            durations=durations | {"loop": self._lag.snapshot()},
            errors=errors,
            values=values,
            collected=self._meter.collected,
            uncollectable=self._meter.uncollectable,
        )

    def _fed(self) -> dict[str, HistogramSnapshot]:
        """Return what the parts of this package recorded since this monitor was made."""
        none = HistogramSnapshot()
        return {
            name: snapshot - self._fed_before.get(name, none)
            for name, snapshot in sources.durations().items()
        }

    # Reports

    def get_insights(self) -> list[Insight]:
        """Return what was wrong in the time of the last readings, the likeliest cause first."""
        with self._lock:
            if len(self._readings) < 2:  # noqa: PLR2004 - two make a difference
                return []
            first, last = self._readings[0], self._readings[-1]
            old, new = self._statements[0], self._statements[-1]
        crowd = self._threads.crowd()
        return insights(
            Evidence(
                figures=rates(first, last),
                durations={
                    name: last.durations[name] - first.durations[name]
                    for name in ("api", "database", "agents")
                },
                statements={text: new[text] - old.get(text, 0.0) for text in new},
                blocks=[block for at, block in list(self._blocks) if at >= first.at],
                crowd=crowd,
            )
        )

    def get_performance_report(self) -> dict[str, Any]:
        """Return everything there is to say; docs/guide/observability.md lists the keys.

        Everything is read now. Rates are about the last one or two intervals, or without monitoring
        about the time since the last report but one.
        """
        before, last = self._compare()
        with self._lock:
            active, history = self._alerts.active, list(self._alerts.history)
        found = self.get_insights()
        return {
            "timestamp": time.time(),
            "monitoring": self.is_monitoring,
            "uptime_seconds": time.monotonic() - self._began,
            **describe(before, last),
            "event_loop": {
                "lag": latency(last.durations["loop"], 0.0),
                "blocks": [block for _, block in list(self._blocks)],
            },
            "alerts": active,
            "alert_history": history,
            "performance_insights": [str(insight) for insight in found],
            "insights": found,
            "overhead": {
                "monitor_seconds": self._overhead,
                "gil_sampler_seconds": None if last.gil is None else last.gil.overhead,
            },
        }

    def to_prometheus(self) -> str:
        """Return everything in the text format of Prometheus.

        These are the metrics, `current_metrics` as gauges, and what those come from as counters,
        for readers that compute rates themselves.
        """
        before, last = self._compare()
        return to_prometheus(self.metrics, current=rates(before, last), totals=totals(last))

    def _compare(self) -> tuple[Reading, Reading]:
        """Read now, and return an earlier reading too, not so near that rates would be noise."""
        values = self._read_sources()
        with self._lock:
            last = self._read(values)
            before = self._readings[max(len(self._readings) - 2, 0)] if self._readings else last
            if not self.is_monitoring:
                self._keep(last)
        return before, last


def _thresholds(
    thresholds: Mapping[str, Threshold | Mapping[str, float]],
) -> dict[str, Threshold]:
    return {
        metric: given if isinstance(given, Threshold) else Threshold(**given)
        for metric, given in thresholds.items()
    }


def _seconds(family: Family[Histogram]) -> dict[str, float]:
    [label] = family.names
    return {labels[label]: histogram.snapshot().sum for labels, histogram in family.series()}


def _merged(family: Family[Histogram]) -> HistogramSnapshot:
    merged = HistogramSnapshot()
    for _, histogram in family.series():
        merged += histogram.snapshot()
    return merged


def _call(callback: Callback, alert: Alert) -> None:
    try:
        callback(alert)
    except Exception:
        logger.exception("a callback for alerts failed")


_instances: weakref.WeakSet[PerformanceMonitor] = weakref.WeakSet()


def _begin_again_after_fork() -> None:
    """Leave the threads, and locks that one of them may have held, to the parent."""
    for monitor in list(_instances):
        atexit.unregister(monitor._stop_at_exit)
        monitor._forget_meter()
        monitor._meter._reset()
        monitor._fed_before, monitor._errors_before = {}, {}
        monitor._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
