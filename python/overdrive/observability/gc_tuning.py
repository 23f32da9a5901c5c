"""`GarbageCollectionTuner`: thresholds for a workload, and back again."""

import gc
import sys
import threading
import time
from dataclasses import dataclass
from typing import Literal, Self

from overdrive._core import GcMeter

__all__ = [
    "WORKLOADS",
    "GarbageCollectionTuner",
    "GcCost",
    "Thresholds",
    "Workload",
    "collector_of",
    "thresholds_for",
]

Workload = Literal["high_allocation", "long_running", "memory_constrained", "mixed"]
Thresholds = tuple[int, int, int]
Collector = Literal["generations", "incremental", "free-threaded"]

WORKLOADS: dict[Workload, Thresholds] = {
    # Young objects are looked at early and often, old ones hardly ever: what dies young is cheap.
    "high_allocation": (500, 50, 100),
    # Rare altogether: what lives long is not looked at again and again.
    "long_running": (10_000, 20, 50),
    # Early in all generations: memory is dearer than time.
    "memory_constrained": (200, 5, 5),
    "mixed": (2_000, 20, 25),
}
"""Thresholds of the collector with three generations, by workload."""

_YOUNG: dict[Workload, int] = {
    "high_allocation": 10_000,
    "long_running": 50_000,
    "memory_constrained": 500,
    "mixed": 5_000,
}
"""Where there is no middle generation, the first threshold has to do the work of all."""

FROZEN = 5
"""By how much the first threshold grows after a freeze.

A full collection waits until the young are a quarter of the old. Frozen objects do not count as
old, so without this full collections would come more often than before.
"""


def collector_of(version: tuple[int, ...], *, gil: bool) -> Collector:
    """Return which collector an interpreter has.

    Args:
        version: The version as in `sys.version_info`.
        gil: Whether it has a global interpreter lock.
    """
    if not gil:
        return "free-threaded"
    if (3, 14, 0) <= version[:3] < (3, 14, 5):
        return "incremental"
    return "generations"


def thresholds_for(workload: Workload, collector: Collector) -> Thresholds:
    """Return the thresholds for a workload.

    Raises:
        ValueError: If there is no such workload.
    """
    if workload not in WORKLOADS:
        raise ValueError(f"workload must be one of {', '.join(WORKLOADS)}, not {workload!r}")
    if collector == "generations":
        return WORKLOADS[workload]
    # The second one of the incremental collector says how few of the old each step looks at.
    return (_YOUNG[workload], 20 if collector == "incremental" else 10, 10)


@dataclass(frozen=True, slots=True)
class GcCost:
    """What garbage collection took over some time.

    Attributes:
        seconds: The time.
        collections: How many collections there were, by generation.
        pause_seconds: How long they took in all.
        longest_pause: How long the longest took, in seconds.
        tracked: Objects that the collector looks at, at the end.
        frozen: Objects that it does not look at any more.
    """

    seconds: float
    collections: tuple[int, ...]
    pause_seconds: float
    longest_pause: float
    tracked: int
    frozen: int


class GarbageCollectionTuner:
    """Sets the thresholds of the collector for a workload, and measures what that does.

    The collector is one for the whole process. Whatever is changed is put back by
    `disable_tuning`, or at the end of a `with` block; the collector is never switched off. Methods
    may be called from any thread.

    Args:
        workload: What a `with` block enables.
    """

    def __init__(self, workload: Workload = "mixed") -> None:
        self._collector = collector_of(
            sys.version_info[:3], gil=getattr(sys, "_is_gil_enabled", lambda: True)()
        )
        thresholds_for(workload, self._collector)
        self._workload = workload
        self._lock = threading.Lock()
        self._before: Thresholds | None = None
        self._ours: Thresholds | None = None
        self._frozen = False
        self._meter = GcMeter()
        self._began = time.monotonic()
        self._cost_before: GcCost | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether the thresholds are tuned."""
        return self._ours is not None

    @property
    def collector(self) -> Collector:
        """Which collector the interpreter has."""
        return self._collector

    def start_measuring(self) -> None:
        """Measure collections from now on, so that there is a before to compare with."""
        with self._lock:
            self._measure()

    def enable_tuning(self, workload: Workload) -> Thresholds:
        """Set the thresholds for a workload, now or instead of those of another.

        Returns:
            The thresholds that hold now.

        Raises:
            ValueError: If there is no such workload.
        """
        wanted = thresholds_for(workload, self._collector)
        with self._lock:
            if self._before is None:
                self._before = gc.get_threshold()
                self._cost_before = self._cost() if self._meter in gc.callbacks else None
            self._measure()
            self._workload = workload
            self._set(wanted)
            return wanted

    def freeze(self) -> int:
        """Exempt all objects that there are now from collections. To be called after warm-up.

        Garbage is collected first, and collections become rarer, because without the frozen objects
        they would come more often. Before `os.fork()` this also keeps pages shared with children.

        Returns:
            How many objects are exempt.
        """
        gc.collect()
        with self._lock:
            if self._before is None:
                self._before = gc.get_threshold()
            gc.freeze()
            first, second, third = self._ours or gc.get_threshold()
            if not self._frozen:
                self._set((first * FROZEN, second, third))
            self._frozen = True
        return gc.get_freeze_count()

    def disable_tuning(self) -> None:
        """Put back what was there before. More calls do nothing.

        Thresholds that somebody else has set in the meantime stay.
        """
        with self._lock:
            if self._before is not None and gc.get_threshold() == self._ours:
                gc.set_threshold(*self._before)
            if self._frozen:
                gc.unfreeze()
            self._before, self._ours, self._frozen = None, None, False
            if self._meter in gc.callbacks:
                gc.callbacks.remove(self._meter)

    def get_evidence(self) -> dict[str, GcCost | None]:
        """Return what collections took before the tuning, if that was measured, and since."""
        with self._lock:
            return {"before": self._cost_before, "after": self._cost()}

    def __enter__(self) -> Self:
        self.enable_tuning(self._workload)
        return self

    def __exit__(self, *_: object) -> None:
        self.disable_tuning()

    def _set(self, thresholds: Thresholds) -> None:
        gc.set_threshold(*thresholds)
        # Some versions do not keep all of them.
        self._ours = gc.get_threshold()

    def _measure(self) -> None:
        """Begin to measure anew."""
        if self._meter not in gc.callbacks:
            gc.callbacks.append(self._meter)
        self._meter._reset()
        self._began = time.monotonic()

    def _cost(self) -> GcCost:
        pauses = self._meter.pauses()
        return GcCost(
            seconds=time.monotonic() - self._began,
            collections=tuple(generation.count for generation in pauses),
            pause_seconds=sum(generation.sum for generation in pauses),
            longest_pause=max(generation.maximum or 0.0 for generation in pauses),
            tracked=sum(len(gc.get_objects(generation)) for generation in range(3)),
            frozen=gc.get_freeze_count(),
        )
