"""Memory: objects that are used again, collections of garbage, and leaks."""

import gc
import sys
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from overdrive.benchmarks.measure import baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.observability.gc_tuning import GarbageCollectionTuner
from overdrive.observability.profiler import MemoryProfiler
from overdrive.pools import MemoryPool, ObjectPool

__all__ = ["gc_tuning", "leak_detection", "memory_pooling"]

SLAB_FLOATS = 65_536
LIVE_OBJECTS = 200_000
"""Objects that stay, as the states of agents do, and that every full collection looks at."""

CENSUSES = 12
LEAKED = 300
"""Objects that are kept between two censuses."""


def _make_state() -> dict[str, Any]:
    return {"beliefs": np.zeros(100), "observations": deque(maxlen=10), "actions": []}


async def memory_pooling(record: Record) -> None:
    """States of agents and arrays, from a pool beside made anew, and the blocks they allocate."""
    times = record.plan.size(2_000, 200)
    pool = ObjectPool(_make_state, max_size=times, reset="auto")
    await record.compare(
        f"{times:,} states of an agent, one after another",
        ours("ObjectPool", lambda: _recycle(pool, times)),
        baseline("made anew", lambda: _make(times)),
    )
    for thing in [pool.acquire() for _ in range(times)]:
        pool.release(thing)
    # What a pool itself takes is counted too, and so cannot be nothing.
    await record.compare(
        f"blocks allocated for {times:,} states",
        ours("ObjectPool", lambda: _blocks(lambda: [pool.acquire() for _ in range(times)], pool)),
        baseline("made anew", lambda: _blocks(lambda: [_make_state() for _ in range(times)])),
        unit="blocks",
    )
    await _slab(record)


def _recycle(pool: ObjectPool[Any], times: int) -> None:
    for _ in range(times):
        pool.release(pool.acquire())


def _make(times: int) -> None:
    for _ in range(times):
        _make_state()


def _blocks(get: Callable[[], list[Any]], pool: ObjectPool[Any] | None = None) -> float:
    before = sys.getallocatedblocks()
    things = get()
    found = sys.getallocatedblocks() - before
    if pool is not None:
        for thing in things:
            pool.release(thing)
    return float(max(1, found))


async def _slab(record: Record) -> None:
    """Compare arrays of a slab with arrays that are made, each large enough to be given back."""
    times = record.plan.size(200, 20)
    slab = MemoryPool(pool_size=4, state_size=SLAB_FLOATS)

    def borrow() -> None:
        for _ in range(times):
            block = slab.acquire()
            block[0] = 1.0
            slab.release(block)

    def make() -> None:
        for _ in range(times):
            block = np.zeros(SLAB_FLOATS, dtype=np.float32)
            block[0] = 1.0

    await record.compare(
        f"{times} arrays of {SLAB_FLOATS:,} float32",
        ours("MemoryPool", borrow),
        baseline("numpy.zeros", make),
    )


class Node:
    """One of two that know each other, so that only a collection frees them."""

    def __init__(self) -> None:
        self.other: Node | None = None


def _cycles(count: int) -> None:
    for _ in range(count):
        one, two = Node(), Node()
        one.other, two.other = two, one


async def gc_tuning(record: Record) -> None:
    """Agents' cyclic garbage beside many objects that stay, with the tuner and without."""
    count = record.plan.size(60_000, 6_000)
    live = [[i] for i in range(LIVE_OBJECTS)]

    def tuned() -> None:
        with GarbageCollectionTuner("high_allocation") as tuner:
            tuner.freeze()
            began = time.perf_counter()
            _cycles(count)
            spent.append(time.perf_counter() - began)

    def plain() -> float:
        began = time.perf_counter()
        _cycles(count)
        return time.perf_counter() - began

    def ours_alone() -> float:
        # Freezing happens once in a process, after its start: here it is not counted.
        tuned()
        return spent[-1]

    spent: list[float] = []
    await record.compare(
        f"{count:,} pairs of objects that know each other, beside {LIVE_OBJECTS:,} that stay",
        ours("GarbageCollectionTuner and freeze", ours_alone),
        baseline("the collector as it is", plain),
    )
    record.check(gc.get_freeze_count() == 0, "the tuner has not put back what it changed")
    record.facts["objects that stay"] = float(len(live))


class Leaked:
    """Kept and never let go."""


async def leak_detection(record: Record) -> None:
    """A planted leak is found, steady work is not, and what a census costs."""
    kept: list[Leaked] = []
    found = _leaks(lambda: kept.extend(Leaked() for _ in range(LEAKED)))
    record.check(
        any("Leaked" in name for name in found), f"the planted leak was not found, but {found}"
    )
    steady = _leaks(lambda: _cycles(LEAKED))
    record.check(not any("Node" in name for name in steady), f"steady work was called {steady}")
    record.facts["objects leaked"] = float(len(kept))
    profiler = MemoryProfiler(collect=False)
    await record.compare(
        "a count of all objects by type",
        ours("MemoryProfiler", profiler.take_census),
        baseline("Counter over gc.get_objects", lambda: Counter(map(type, gc.get_objects()))),
    )
    objects = record.plan.size(20_000, 2_000)
    tracing = _Tracing(objects)
    await record.compare(
        f"{objects:,} objects made and dropped while leaks are watched",
        ours("between two censuses", lambda: _allocate(objects)),
        baseline("tracemalloc", tracing.run),
        peer("nothing watches", lambda: _allocate(objects)),
    )


def _leaks(work: Callable[[], Any]) -> list[str]:
    profiler = MemoryProfiler()
    for _ in range(CENSUSES):
        work()
        profiler.take_census()
        # Growth is judged by its rate, so that two censuses may not be at one time.
        time.sleep(0.01)
    return [leak.object_type for leak in profiler.get_leak_detections()]


def _allocate(objects: int) -> None:
    for i in range(objects):
        [i]  # noqa: B018 - made and dropped, which is what is measured


class _Tracing:
    """Allocations while the standard library traces them."""

    def __init__(self, objects: int) -> None:
        self.objects = objects

    def run(self) -> float:
        tracemalloc.start()
        try:
            began = time.perf_counter()
            _allocate(self.objects)
            return time.perf_counter() - began
        finally:
            tracemalloc.stop()
