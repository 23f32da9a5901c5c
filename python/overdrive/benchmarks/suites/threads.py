"""Threads: what handing work over costs, how uneven work is spread, and how locks are shared."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from overdrive.benchmarks.measure import baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.executor import (
    AdaptiveConfig,
    AdaptiveThreadPool,
    WorkStealingExecutor,
    read_topology,
)
from overdrive.registry import ShardedRegistry

__all__ = ["lock_contention", "thread_pool_scaling", "work_stealing_efficiency"]

BLOCK = b"overdrive" * 20_000
WAIT_SECONDS = 0.002
"""Of a wait for something outside, which is what such a thread pool is for."""

LARGEST = 32
UNEVEN = [1] * 60 + [2, 4, 8, 16, 24]
"""Sizes of pieces of work. The large ones come last, which is worst for who counts pieces."""


def _digest(size: int) -> None:
    for _ in range(size):
        hashlib.sha256(BLOCK).digest()


def _wait(_: int) -> None:
    time.sleep(WAIT_SECONDS)


def _tiny(number: int) -> int:
    return number + 1


def _through(executor: Executor, function: Callable[[int], Any], items: Iterable[int]) -> None:
    for future in [executor.submit(function, item) for item in items]:
        future.result()


async def thread_pool_scaling(record: Record) -> None:
    """Small calls, waits and hashes: an adaptive pool beside a `ThreadPoolExecutor` of its default.

    The peer is a `ThreadPoolExecutor` as large as the adaptive pool may grow, which one would have
    to know beforehand.
    """
    calls = record.plan.size(5_000, 500)
    work: dict[str, tuple[Callable[[int], Any], range]] = {
        f"{calls:,} calls that add one": (_tiny, range(calls)),
        f"{record.plan.size(1_000, 100):,} waits of 2 ms": (
            _wait,
            range(record.plan.size(1_000, 100)),
        ),
        "64 hashes of 180 kB": (lambda _: _digest(1), range(64)),
    }
    with ExitStack() as stack:
        adaptive = stack.enter_context(AdaptiveThreadPool(AdaptiveConfig(max_workers=LARGEST)))
        plain = stack.enter_context(ThreadPoolExecutor())
        large = stack.enter_context(ThreadPoolExecutor(LARGEST))
        for what, (function, items) in work.items():
            await record.compare(
                what,
                ours("AdaptiveThreadPool", partial(_through, adaptive, function, items)),
                baseline("ThreadPoolExecutor()", partial(_through, plain, function, items)),
                peer(f"ThreadPoolExecutor({LARGEST})", partial(_through, large, function, items)),
            )


async def work_stealing_efficiency(record: Record) -> None:
    """Uneven hashes on as many threads as cores, beside equal numbers for each thread."""
    cores = read_topology().parallelism
    with WorkStealingExecutor(cores) as stealing, ThreadPoolExecutor(cores) as plain:
        ways = (
            ours("WorkStealingExecutor", lambda: list(stealing.map(_digest, UNEVEN))),
            baseline("equal numbers for each thread", lambda: _halves(cores)),
            peer(f"ThreadPoolExecutor({cores})", lambda: list(plain.map(_digest, UNEVEN))),
        )
        found = await record.compare("uneven hashes, one thread a core", *ways)
        tasks = record.plan.size(60, 10)
        await record.compare(
            f"{tasks} calls that submit 50 each",
            ours("WorkStealingExecutor", lambda: _nested(stealing, tasks)),
            baseline("ThreadPoolExecutor", lambda: _nested(plain, tasks)),
        )
    for series in found.series:
        record.facts[f"share of the cores used: {series.name}"] = _share(series.values, cores)


def _halves(cores: int) -> None:
    """Give each thread as many pieces as any other, whatever their size."""
    share = -(-len(UNEVEN) // cores)
    parts = [UNEVEN[i * share : (i + 1) * share] for i in range(cores)]
    threads = [threading.Thread(target=_digest, args=(sum(part),)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _nested(executor: Executor, tasks: int) -> None:
    def spread(_: int) -> list[Any]:
        return [executor.submit(_tiny, i) for i in range(50)]

    for future in [executor.submit(spread, i) for i in range(tasks)]:
        for inner in future.result():
            inner.result()


def _share(seconds: Iterable[float], cores: int) -> float:
    """Return how much of the cores' time was spent hashing, as one thread takes it."""
    began = time.perf_counter()
    _digest(sum(UNEVEN))
    alone = time.perf_counter() - began
    times = sorted(seconds)
    return min(1.0, alone / cores / times[len(times) // 2])


class LockedDictionary:
    """A dictionary with one lock, as one writes it."""

    def __init__(self) -> None:
        self._entries: dict[int, Any] = {}
        self._lock = threading.Lock()

    def set(self, key: int, value: Any) -> None:
        """Store a value."""
        with self._lock:
            self._entries[key] = value

    def get(self, key: int) -> Any:
        """Return a value or `None`."""
        with self._lock:
            return self._entries.get(key)


class LockedShards:
    """A dictionary and a re-entrant lock for each shard, as the guide has it."""

    def __init__(self, num_shards: int = 16) -> None:
        self._num_shards = num_shards
        self._shards: list[dict[int, Any]] = [{} for _ in range(num_shards)]
        self._locks = [threading.RLock() for _ in range(num_shards)]

    def set(self, key: int, value: Any) -> None:
        """Store a value."""
        shard = hash(key) % self._num_shards
        with self._locks[shard]:
            self._shards[shard][key] = value

    def get(self, key: int) -> Any:
        """Return a value or `None`."""
        shard = hash(key) % self._num_shards
        with self._locks[shard]:
            return self._shards[shard].get(key)


async def lock_contention(record: Record) -> None:
    """Four threads that look up and store agents in one registry, nine look-ups for each store."""
    operations = record.plan.size(20_000, 2_000)
    registry: ShardedRegistry[int, int] = ShardedRegistry(16)
    locked, shards = LockedDictionary(), LockedShards()
    await record.compare(
        f"4 threads, {operations:,} look-ups and stores each",
        ours(
            "ShardedRegistry",
            lambda: _hammer(registry.get, registry.__setitem__, operations),
        ),
        baseline("dict and Lock", lambda: _hammer(locked.get, locked.set, operations)),
        peer("16 dicts and RLocks", lambda: _hammer(shards.get, shards.set, operations)),
    )


def _hammer(get: Callable[[int], Any], put: Callable[[int, int], None], operations: int) -> None:
    def work(offset: int) -> None:
        for i in range(offset, offset + operations):
            if i % 10:
                get(i % 4_000)
            else:
                put(i % 4_000, i)

    threads = [threading.Thread(target=work, args=(n * 1_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
