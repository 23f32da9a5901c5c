"""`MemoryOptimizer`: pools, collector, profiler, and what to do when memory runs short."""

import ctypes
import gc
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from overdrive.observability.gc_tuning import GarbageCollectionTuner, Workload
from overdrive.observability.profiler import MemoryProfiler
from overdrive.pools import ObjectPool

__all__ = [
    "Freed",
    "MemoryOptimizer",
    "MemoryUse",
    "get_memory_optimizer",
    "memory_tracking",
    "start_memory_optimization",
]

logger = logging.getLogger("overdrive.observability")

TRACKED = 1000
"""How many tracked blocks are remembered."""

PRESSURE = 80.0
"""Per cent of the machine's memory from which on there is pressure."""

DEFAULT_POOLS: dict[str, Callable[[], Any]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "deque": deque,
}
"""Pools that `start_optimization` makes; they clear what is released."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a block of code did to the memory of the process, other threads included.

    Attributes:
        name: What the block was called.
        seconds: How long it took.
        rss_bytes: By how much resident memory grew.
        blocks: How many more blocks Python's allocator has given out.
        collections: How many garbage collections ran.
    """

    name: str
    seconds: float
    rss_bytes: int
    blocks: int
    collections: int


@dataclass(frozen=True, slots=True)
class Freed:
    """What an attempt to free memory did.

    Attributes:
        acted: Whether there was a reason to try.
        memory_usage: Per cent of the machine's memory in use before.
        collected: Objects that the garbage collector freed.
        trimmed: Whether the C library gave something back to the system.
        rss_bytes: By how much resident memory shrank; it may be negative.
    """

    acted: bool
    memory_usage: float
    collected: int = 0
    trimmed: bool = False
    rss_bytes: int = 0


class MemoryOptimizer:
    """Keeps pools by name, tunes the collector, profiles, and frees memory when it runs short.

    All methods may be called from any thread.

    Args:
        profiler: What looks for leaks; by default one that takes a census every 30 seconds.
        pressure: Per cent of the machine's memory from which on `optimize_memory` acts.
    """

    def __init__(
        self, *, profiler: MemoryProfiler | None = None, pressure: float = PRESSURE
    ) -> None:
        if not 0 <= pressure <= 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"pressure must be from 0 to 100, not {pressure}")
        self.profiler = MemoryProfiler() if profiler is None else profiler
        self.tuner = GarbageCollectionTuner()
        self.pressure = pressure
        self._pools: dict[str, ObjectPool[Any]] = {}
        self._uses: deque[MemoryUse] = deque(maxlen=TRACKED)

    def create_object_pool(
        self,
        name: str,
        factory: Callable[[], Any],
        max_size: int = 100,
        reset_func: Callable[[Any], object] | None = None,
    ) -> ObjectPool[Any]:
        """Make a pool and keep it under a name.

        Args:
            name: Its name.
            factory: Makes an object.
            max_size: The most objects that wait in it.
            reset_func: Makes an object as good as new; by default what `reset="auto"` does.

        Raises:
            ValueError: If there is a pool of that name.
        """
        pool: ObjectPool[Any]
        if reset_func is None:
            pool = ObjectPool(factory, max_size=max_size, reset="auto")
        else:
            pool = ObjectPool(factory, max_size=max_size, reset_func=reset_func)
        if self._pools.setdefault(name, pool) is not pool:
            raise ValueError(f"there is a pool named {name!r} already")
        return pool

    def get_object_pool(self, name: str) -> ObjectPool[Any]:
        """Return the pool of a name.

        Raises:
            KeyError: If there is none.
        """
        return self._pools[name]

    @contextmanager
    def memory_tracking(self, name: str) -> Iterator[None]:
        """Note what a block of code does to the memory; `get_memory_uses` tells."""
        before, collections = _resident(), _collections()
        blocks, began = sys.getallocatedblocks(), time.monotonic()
        try:
            yield
        finally:
            use = MemoryUse(
                name=name,
                seconds=time.monotonic() - began,
                rss_bytes=_resident() - before,
                blocks=sys.getallocatedblocks() - blocks,
                collections=_collections() - collections,
            )
            self._uses.append(use)

    def get_memory_uses(self, name: str | None = None) -> list[MemoryUse]:
        """Return what tracked blocks did, oldest first; by default those of all names."""
        return [use for use in list(self._uses) if name in {None, use.name}]

    def start_optimization(self, workload: Workload = "mixed") -> None:
        """Tune the collector, make the default pools, and look for leaks at intervals.

        Raises:
            ValueError: If there is no such workload.
        """
        self.tuner.enable_tuning(workload)
        for name, factory in DEFAULT_POOLS.items():
            if name not in self._pools:
                self.create_object_pool(name, factory)
        self.profiler.start_monitoring()

    def stop_optimization(self) -> None:
        """Put the collector back, and look for leaks no longer. Pools stay."""
        self.profiler.stop_monitoring()
        self.tuner.disable_tuning()

    def optimize_memory(self, *, force: bool = False) -> Freed:
        """Free what can be freed, if memory runs short.

        Collects all garbage, and has the C library give back what it does not need (Linux).

        Args:
            force: Whether to do so in any case.
        """
        usage = _memory_usage()
        if not force and usage < self.pressure:
            return Freed(acted=False, memory_usage=usage)
        before = _resident()
        collected = gc.collect()
        trimmed = _trim()
        freed = Freed(
            acted=True,
            memory_usage=usage,
            collected=collected,
            trimmed=trimmed,
            rss_bytes=before - _resident(),
        )
        logger.info("freed memory: %s", freed)
        return freed

    def get_statistics(self) -> dict[str, Any]:
        """Return what the parts say about themselves."""
        return {
            "pools": {name: pool.get_stats() for name, pool in list(self._pools.items())},
            "garbage_collection": self.tuner.get_evidence(),
            "profiler": asdict(self.profiler.stats()),
            "leaks": self.profiler.get_leak_detections(),
        }


def _resident() -> int:
    from overdrive.observability._psutil import resident_bytes  # noqa: PLC0415 - optional

    return resident_bytes()


def _memory_usage() -> float:
    from overdrive.observability._psutil import memory_usage  # noqa: PLC0415 - optional

    return memory_usage()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _trim() -> bool:
    """Have glibc return free memory; other C libraries do so by themselves, or cannot."""
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False


_the_one: MemoryOptimizer | None = None
_making = threading.Lock()


def get_memory_optimizer() -> MemoryOptimizer:
    """Return the optimizer of the process, which is made when it is first wanted."""
    global _the_one  # noqa: PLW0603 - one per process is what it is for
    with _making:
        if _the_one is None:
            _the_one = MemoryOptimizer()
        return _the_one


def start_memory_optimization(workload: Workload = "mixed") -> MemoryOptimizer:
    """Start the optimizer of the process for a workload and return it."""
    optimizer = get_memory_optimizer()
    optimizer.start_optimization(workload)
    return optimizer


@contextmanager
def memory_tracking(name: str) -> Iterator[None]:
    """Track the memory of a block of code with the optimizer of the process."""
    with get_memory_optimizer().memory_tracking(name):
        yield


def _begin_again_after_fork() -> None:
    global _making  # noqa: PLW0603 - it may be held by a thread that is gone
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
