"""Alerts: which figures are too high, since when, and whether that was said already.

Nothing here reads a clock or starts a thread: the figures and the time are arguments.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["DEFAULT_THRESHOLDS", "Alert", "AlertBook", "Severity", "Threshold"]

Severity = Literal["warning", "critical"]
_SEVERITIES: tuple[Severity, ...] = ("warning", "critical")

HISTORY = 1000
"""How many past alerts are kept."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From where on a figure is an alert.

    Attributes:
        warning: From here on it is a warning.
        critical: From here on it is critical.
        for_seconds: How long it has to be there before anything is said.
        hysteresis: By which share it has to fall below the threshold before the alert ends.
    """

    warning: float
    critical: float
    for_seconds: float = 3.0
    hysteresis: float = 0.1

    def __post_init__(self) -> None:
        if not self.warning <= self.critical:
            raise ValueError(f"warning {self.warning} must not be above critical {self.critical}")
        if not self.for_seconds >= 0:
            raise ValueError(f"for_seconds must not be negative, not {self.for_seconds}")
        if not 0 <= self.hysteresis < 1:
            raise ValueError(f"hysteresis must be from 0 to below 1, not {self.hysteresis}")

    def of(self, severity: Severity) -> float:
        """Return the threshold of a severity."""
        return self.critical if severity == "critical" else self.warning


DEFAULT_THRESHOLDS: Mapping[str, Threshold] = {
    "cpu_usage": Threshold(80.0, 95.0),
    "memory_usage": Threshold(80.0, 95.0),
    "api_response_time_ms": Threshold(500.0, 2000.0),
    "db_query_time_ms": Threshold(100.0, 1000.0),
    "agent_step_time_ms": Threshold(100.0, 1000.0),
    "gil_contention": Threshold(0.8, 0.95),
    "event_loop_lag_ms": Threshold(100.0, 1000.0),
    "gc_pause_ms": Threshold(100.0, 500.0),
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A figure that is, or was, too high.

    Attributes:
        metric: Its name in `current_metrics`.
        severity: How bad it is.
        value: The figure when this was said.
        threshold: What it exceeds.
        since: When it first exceeded that, on the monitor's clock.
        at: When this was said, on the same clock.
        resolved: Whether this says that it is over.
    """

    metric: str
    severity: Severity
    value: float
    threshold: float
    since: float
    at: float
    resolved: bool = False

    @property
    def message(self) -> str:
        """The alert as a sentence."""
        if self.resolved:
            return f"{self.metric} is {self.value:g}, no longer above {self.threshold:g}"
        return (
            f"{self.metric} is {self.value:g}, above {self.threshold:g} ({self.severity}) "
            f"for {self.at - self.since:.1f} s"
        )


class AlertBook:
    """Remembers which alerts are on. Not safe for threads: its owner has a lock.

    An alert is said once when it begins, once when its severity changes, and once when it ends.
    """

    def __init__(self, thresholds: Mapping[str, Threshold]) -> None:
        self._thresholds = dict(thresholds)
        self._since: dict[tuple[str, Severity], float] = {}
        self._active: dict[str, Alert] = {}
        self.history: deque[Alert] = deque(maxlen=HISTORY)

    @property
    def active(self) -> list[Alert]:
        """The alerts that are on, in the order in which they began."""
        return list(self._active.values())

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """The thresholds by metric."""
        return dict(self._thresholds)

    def set_threshold(self, metric: str, threshold: Threshold | None) -> None:
        """Replace the threshold of a metric, or with `None` watch it no longer."""
        self._active.pop(metric, None)
        for severity in _SEVERITIES:
            self._since.pop((metric, severity), None)
        if threshold is None:
            self._thresholds.pop(metric, None)
        else:
            self._thresholds[metric] = threshold

    def evaluate(self, now: float, values: Mapping[str, float]) -> list[Alert]:
        """Compare figures with the thresholds and return what is new.

        A figure that is missing or not a number says nothing: its alert stays as it is.
        """
        news = []
        for metric, threshold in self._thresholds.items():
            value = values.get(metric, math.nan)
            if not math.isnan(value):
                alert = self._judge(now, metric, value, threshold)
                if alert is not None:
                    news.append(alert)
        self.history.extend(news)
        return news

    def _judge(self, now: float, metric: str, value: float, threshold: Threshold) -> Alert | None:
        active = self._active.get(metric)
        held = [s for s in _SEVERITIES if self._holds(now, metric, s, value, threshold)]
        severity = held[-1] if held else None
        if severity == (active.severity if active else None):
            return None
        if severity is None:
            assert active is not None  # noqa: S101 - else the severities were equal
            del self._active[metric]
            return replace(active, value=value, at=now, resolved=True)
        since = self._since[metric, severity]
        alert = Alert(metric, severity, value, threshold.of(severity), since, now)
        self._active[metric] = alert
        return alert

    def _holds(
        self, now: float, metric: str, severity: Severity, value: float, threshold: Threshold
    ) -> bool:
        """Say whether a figure counts as above a threshold, and note since when it is."""
        limit = threshold.of(severity)
        active = self._active.get(metric)
        said = active is not None and severity in {"warning", active.severity}
        if value < (limit - abs(limit) * threshold.hysteresis if said else limit):
            self._since.pop((metric, severity), None)
            return False
        return said or now - self._since.setdefault((metric, severity), now) >= (
            threshold.for_seconds
        )
