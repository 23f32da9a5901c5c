"""Named counters, gauges and histograms, alone or in families of bounded size."""

import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar, overload

from overdrive._core import Counter, Gauge, Histogram, HistogramSnapshot

__all__ = [
    "OVERFLOW",
    "SECONDS",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "HistogramSnapshot",
    "Metric",
    "Metrics",
]

OVERFLOW = "(other)"
"""The value of every label of the series that takes what a full family has no place for."""

SECONDS = tuple(2.0**exponent for exponent in range(-20, 7))
"""Bounds of exported buckets: a microsecond to a minute, in powers of two, which are exact."""

Kind = Literal["counter", "gauge", "histogram"]
Instrument = Counter | Gauge | Histogram
_M = TypeVar("_M", Counter, Gauge, Histogram)

_KINDS = {"api", "database", "agents"}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Family(Generic[_M]):
    """Metrics of one name that differ in the values of their labels.

    Safe for threads. There are never more than `max_series`; whatever comes later is recorded in
    one more, whose labels all have the value `OVERFLOW`, and is counted in `overflowed`.
    """

    def __init__(self, make: Callable[[], _M], labels: tuple[str, ...], max_series: int) -> None:
        if max_series < 1:
            raise ValueError(f"max_series must be positive, not {max_series}")
        self.names = labels
        self.max_series = max_series
        self.overflowed = Counter()
        self._make: Callable[[], _M] = make
        self._series: dict[tuple[str, ...], _M] = {}
        self._overflow: _M | None = None
        self._lock = threading.Lock()

    def labels(self, *values: str) -> _M:
        """Return the metric of some values, in the order of the names.

        Raises:
            ValueError: If there are not as many values as names.
        """
        found = self._series.get(values)
        return self._add(values) if found is None else found

    def series(self) -> list[tuple[dict[str, str], _M]]:
        """Return each metric with its labels."""
        with self._lock:
            pairs = list(self._series.items())
            if self._overflow is not None:
                pairs.append(((OVERFLOW,) * len(self.names), self._overflow))
        return [(dict(zip(self.names, values, strict=True)), metric) for values, metric in pairs]

    def _add(self, values: tuple[str, ...]) -> _M:
        if len(values) != len(self.names):
            raise ValueError(f"labels are {self.names}, values are {values}")
        if not all(isinstance(value, str) for value in values):
            return self.labels(*map(str, values))
        with self._lock:
            if values in self._series or len(self._series) < self.max_series:
                return self._series.setdefault(values, self._make())
            if self._overflow is None:
                self._overflow = self._make()
        self.overflowed.inc()
        return self._overflow

    def _begin_again(self) -> None:
        self._lock = threading.Lock()
        for metric in (self.overflowed, self._overflow, *self._series.values()):
            if metric is not None:
                metric._reset()


@dataclass(frozen=True, slots=True)
class Metric:
    """What belongs to a name.

    Attributes:
        name: The name, of letters, digits, underscores and colons.
        kind: What it is.
        description: What it counts or measures, with its unit.
        bounds: The bounds of its exported buckets, if it is a histogram.
        family: The family, or `None` if there are no labels.
        single: The metric, or `None` if there are labels.
    """

    name: str
    kind: Kind
    description: str
    bounds: tuple[float, ...]
    family: Family[Counter] | Family[Gauge] | Family[Histogram] | None
    single: Instrument | None

    def series(self) -> list[tuple[dict[str, str], Instrument]]:
        """Return each metric of the name with its labels."""
        if self.family is None:
            return [] if self.single is None else [({}, self.single)]
        return list(self.family.series())

    def _begin_again(self) -> None:
        if self.family is not None:
            self.family._begin_again()
        if self.single is not None:
            self.single._reset()


class Metrics:
    """A namespace of metrics. Asking for a name again returns what it names.

    Safe for threads. After `os.fork()` everything begins at zero in the child, so that processes
    can be added up.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._lock = threading.Lock()
        _instances.add(self)

    @overload
    def counter(self, name: str, description: str = "") -> Counter: ...
    @overload
    def counter(
        self, name: str, description: str = "", *, labels: tuple[str, ...], max_series: int = ...
    ) -> Family[Counter]: ...
    def counter(
        self,
        name: str,
        description: str = "",
        *,
        labels: tuple[str, ...] = (),
        max_series: int = 100,
    ) -> Counter | Family[Counter]:
        """Return a counter, or with `labels` a family of counters.

        Args:
            name: Its name.
            description: What it counts.
            labels: The names of its labels.
            max_series: How many combinations of values are told apart.

        Raises:
            ValueError: If a name is not valid, or is taken by something else.
        """
        return self._get(
            "counter", Counter, name, description, labels=labels, max_series=max_series
        )

    @overload
    def gauge(self, name: str, description: str = "") -> Gauge: ...
    @overload
    def gauge(
        self, name: str, description: str = "", *, labels: tuple[str, ...], max_series: int = ...
    ) -> Family[Gauge]: ...
    def gauge(
        self,
        name: str,
        description: str = "",
        *,
        labels: tuple[str, ...] = (),
        max_series: int = 100,
    ) -> Gauge | Family[Gauge]:
        """Return a gauge, or with `labels` a family of gauges; see `counter`."""
        return self._get("gauge", Gauge, name, description, labels=labels, max_series=max_series)

    @overload
    def histogram(
        self, name: str, description: str = "", *, bounds: tuple[float, ...] = ...
    ) -> Histogram: ...
    @overload
    def histogram(
        self,
        name: str,
        description: str = "",
        *,
        labels: tuple[str, ...],
        max_series: int = ...,
        bounds: tuple[float, ...] = ...,
        counts: str = ...,
    ) -> Family[Histogram]: ...
    def histogram(
        self,
        name: str,
        description: str = "",
        *,
        labels: tuple[str, ...] = (),
        max_series: int = 100,
        bounds: tuple[float, ...] = SECONDS,
        counts: str = "",
    ) -> Histogram | Family[Histogram]:
        """Return a histogram, or with `labels` a family of histograms; see `counter`.

        `bounds` are those of the exported buckets only; recording is finer. With `counts`, which is
        `api`, `database` or `agents`, what a part of this package times is not recorded twice.
        """
        return self._get(
            "histogram",
            partial(Histogram, counts if counts in _KINDS else ""),
            name,
            description,
            labels=labels,
            max_series=max_series,
            bounds=bounds,
        )

    def _get(
        self,
        kind: Kind,
        make: Callable[[], _M],
        name: str,
        description: str,
        *,
        labels: tuple[str, ...],
        max_series: int,
        bounds: tuple[float, ...] = (),
    ) -> _M | Family[_M]:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name of a metric: {name!r}")
        for label in labels:
            if not _LABEL.fullmatch(label):
                raise ValueError(f"not a name of a label: {label!r}")
        found: _M | Family[_M] = Family(make, labels, max_series) if labels else make()
        family, single = (found, None) if isinstance(found, Family) else (None, found)
        new = Metric(name, kind, description, bounds, family, single)
        with self._lock:
            metric = self._metrics.setdefault(name, new)
        names = metric.family.names if metric.family else ()
        if (metric.kind, names) != (kind, labels):
            raise ValueError(f"{name} is a {metric.kind} with the labels {names}")
        return metric.family or metric.single  # type: ignore[return-value] # its kind was compared

    def __iter__(self) -> Iterator[Metric]:
        with self._lock:
            return iter(list(self._metrics.values()))

    def _begin_again(self) -> None:
        self._lock = threading.Lock()
        for metric in self._metrics.values():
            metric._begin_again()


_instances: weakref.WeakSet[Metrics] = weakref.WeakSet()


def _begin_again_after_fork() -> None:
    for metrics in list(_instances):
        metrics._begin_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
