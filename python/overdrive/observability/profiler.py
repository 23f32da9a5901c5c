"""`MemoryProfiler`: takes a census now and then, and says what grows."""

import atexit
import gc
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from overdrive.observability.census import Census, find_container, name_of, take_census
from overdrive.observability.leaks import LeakDetection, find_leaks, referrer_chain

__all__ = ["CensusDiff", "MemoryProfiler", "ProfilerStats", "compare"]

logger = logging.getLogger("overdrive.observability")

KEPT = 20
"""Censuses that are kept: leaks are looked for in those."""

LAST_WAIT = 1.0
"""Seconds for which the end of the process waits for a census."""

NOTICEABLE = 0.05
"""Seconds for which an event loop can stand still unnoticed."""


@dataclass(frozen=True, slots=True)
class ProfilerStats:
    """What the profiler itself costs.

    Attributes:
        censuses: How many it took.
        seconds: How long they took in all.
        last_seconds: How long the last took.
        longest_pause: For how long at most one kept other threads from running.
    """

    censuses: int
    seconds: float
    last_seconds: float
    longest_pause: float


@dataclass(frozen=True, slots=True)
class CensusDiff:
    """What changed between two censuses.

    Attributes:
        counts: More or fewer objects by type, largest change first.
        blocks: More or fewer blocks of Python's allocator.
        rss_bytes: More or less resident memory.
    """

    counts: dict[str, int]
    blocks: int
    rss_bytes: int


def compare(before: Census, after: Census) -> CensusDiff:
    """Return what changed between two censuses."""
    names = before.counts.keys() | after.counts.keys()
    changes = {name: after.counts.get(name, 0) - before.counts.get(name, 0) for name in names}
    changed = [(name, change) for name, change in changes.items() if change]
    return CensusDiff(
        counts=dict(sorted(changed, key=lambda item: (-abs(item[1]), item[0]))),
        blocks=after.blocks - before.blocks,
        rss_bytes=after.rss_bytes - before.rss_bytes,
    )


class MemoryProfiler:
    """Counts objects by type, again and again, and finds those that only become more.

    A census looks at every object that the garbage collector tracks; nothing is traced in between,
    so that this costs nothing while no census is taken. All methods may be called from any thread.

    Args:
        interval: Seconds between two censuses of `start_monitoring`.
        census: Takes one; by default `take_census` with the resident memory.
        collect: Whether to collect garbage before, so that only what is in use is counted.
    """

    def __init__(
        self,
        *,
        interval: float = 30.0,
        census: Callable[[], Census] | None = None,
        collect: bool = True,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be positive, not {interval}")
        self.interval = interval
        self._census = _census if census is None else census
        self._collect = collect
        self._censuses: deque[Census] = deque(maxlen=KEPT)
        self._stats = ProfilerStats(0, 0.0, 0.0, 0.0)
        self._begin()
        _instances.add(self)

    def _begin(self) -> None:
        """Set up what does not survive a fork."""
        self._lock = threading.Lock()
        self._control = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @property
    def is_monitoring(self) -> bool:
        """Whether censuses are taken at intervals."""
        return self._thread is not None

    def start_monitoring(self) -> None:
        """Start to take a census at each interval; nothing changes if that is so already."""
        with self._control:
            if self._thread is not None:
                return
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name="overdrive-memory", daemon=True)
            self._thread.start()
            atexit.register(self._stop, LAST_WAIT)

    def stop_monitoring(self) -> None:
        """Stop to do so, and return when the thread has ended. More calls do nothing."""
        self._stop()

    def _stop(self, timeout: float | None = None) -> None:
        with self._control:
            if self._thread is None:
                return
            self._wake.set()
            self._thread.join(timeout)
            self._thread = None
            atexit.unregister(self._stop)

    def __enter__(self) -> Self:
        self.start_monitoring()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_monitoring()

    def _run(self) -> None:
        while True:
            try:
                self.take_census()
            except Exception:
                logger.exception("a census failed")
            if self._wake.wait(self.interval):
                return

    def take_census(self) -> Census:
        """Take a census now and keep it among the last twenty."""
        if self._collect:
            gc.collect()
        census = self._census()
        if census.longest_pause >= NOTICEABLE:
            logger.warning(
                "a census of %d objects kept other threads waiting for %.0f ms",
                census.objects,
                census.longest_pause * 1000,
            )
        with self._lock:
            self._censuses.append(census)
            stats = self._stats
            self._stats = ProfilerStats(
                censuses=stats.censuses + 1,
                seconds=stats.seconds + census.seconds,
                last_seconds=census.seconds,
                longest_pause=max(stats.longest_pause, census.longest_pause),
            )
        return census

    def get_censuses(self) -> list[Census]:
        """Return the last censuses, oldest first."""
        with self._lock:
            return list(self._censuses)

    def get_leak_detections(self, *, referrers: bool = False) -> list[LeakDetection]:
        """Return what grows, according to the last censuses; nothing before there are eight.

        Args:
            referrers: Whether to look who holds one of each, which takes long if there are many
                objects.
        """
        leaks = find_leaks(self.get_censuses())
        return [_with_referrers(leak) for leak in leaks] if referrers else leaks

    def stats(self) -> ProfilerStats:
        """Return what the censuses cost."""
        with self._lock:
            return self._stats

    def clear(self) -> None:
        """Forget all censuses."""
        with self._lock:
            self._censuses.clear()


def _census() -> Census:
    from overdrive.observability._psutil import resident_bytes  # noqa: PLC0415 - optional

    return take_census(resident_bytes())


def _with_referrers(leak: LeakDetection) -> LeakDetection:
    if leak.kind in {"native", "untracked"}:
        return leak
    if leak.key is not None:
        sample = find_container(leak.key)
    else:
        # The newest are at the end.
        everything = gc.get_objects()
        sample = next(
            (o for o in reversed(everything) if name_of(type(o)) == leak.object_type), None
        )
        del everything
    return leak if sample is None else replace(leak, referrers=referrer_chain(sample))


_instances: weakref.WeakSet[MemoryProfiler] = weakref.WeakSet()


def _begin_again_after_fork() -> None:
    for profiler in list(_instances):
        atexit.unregister(profiler._stop)
        profiler._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
