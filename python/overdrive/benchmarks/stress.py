"""All parts of a process at the same time, and whether what went in came out."""

import random
import threading
from collections.abc import Callable
from typing import Any

from overdrive.agents import OptimizedAgentManager
from overdrive.benchmarks.errors import WrongResultError
from overdrive.caches import LRUCache
from overdrive.executor import WorkStealingExecutor
from overdrive.observability import PerformanceMonitor
from overdrive.pools import ObjectPool
from overdrive.registry import ShardedRegistry

__all__ = ["Stress"]

LISTENERS = 50
KEYS = 500
THREADS = 2
"""That use cache, registry and pool together."""


class _Listener:
    def __init__(self) -> None:
        self.heard: list[int] = []

    def step(self, observation: Any) -> Any:
        return observation

    def receive(self, message: int) -> None:
        self.heard.append(message)


class Stress:
    """Uses executor, agents, caches, registry, pools and monitor from several threads.

    `stop` raises `WrongResultError` if a call, a message, an entry, an object or a time was lost.
    """

    def __init__(self) -> None:
        self._end = threading.Event()
        self._failures: list[str] = []
        self._count = {"calls": 0, "messages": 0, "entries": 0, "times": 0}
        self._lock = threading.Lock()
        self._monitor = PerformanceMonitor(thresholds={})
        self._executor = WorkStealingExecutor(4)
        self._cache: LRUCache[int, int] = LRUCache(KEYS // 2)
        self._registry: ShardedRegistry[tuple[int, int], int] = ShardedRegistry()
        self._pool: ObjectPool[list[int]] = ObjectPool(list, max_size=8, reset="auto")
        self._manager = OptimizedAgentManager()
        self._listeners = [_Listener() for _ in range(LISTENERS)]
        for i, listener in enumerate(self._listeners):
            self._manager.register_agent(i, listener)
        work = [self._call, self._tell, *(self._entries(i) for i in range(THREADS))]
        self._threads = [threading.Thread(target=self._repeat, args=(one,)) for one in work]

    def start(self) -> None:
        """Begin."""
        self._monitor.start_monitoring()
        for thread in self._threads:
            thread.start()

    def stop(self) -> dict[str, float]:
        """End, check, and return how much was done."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._manager.drain()
        self._executor.shutdown()
        self._monitor.stop_monitoring()
        self._check()
        self._manager.shutdown()
        if self._failures:
            raise WrongResultError("; ".join(self._failures))
        return {f"{name} under stress": float(count) for name, count in self._count.items()}

    def _repeat(self, work: Callable[[], None]) -> None:
        try:
            while not self._end.is_set():
                with self._monitor.time_agent_step():
                    work()
                self._add("times", 1)
        except Exception as error:  # noqa: BLE001 - told by `stop`
            self._failures.append(f"{type(error).__name__}: {error}")

    def _add(self, name: str, count: int) -> None:
        with self._lock:
            self._count[name] += count

    def _call(self) -> None:
        """Have small calls made, and compare what comes back."""
        results = list(self._executor.map(abs, range(-100, 0)))
        if results != list(range(100, 0, -1)):
            self._failures.append("results of the executor are lost or in another order")
        self._add("calls", len(results))

    def _tell(self) -> None:
        """Send everyone the next number."""
        self._manager.broadcast(self._count["messages"])
        self._add("messages", 1)
        if self._count["messages"] % 20 == 0:
            self._manager.drain()

    def _entries(self, thread: int) -> Callable[[], None]:
        """Return what one thread does with cache, registry and pool."""
        lot = random.Random(thread)  # noqa: S311 - keys

        def work() -> None:
            key = lot.randrange(KEYS)
            if self._cache.get_or_create(key, lambda: key * key) != key * key:
                self._failures.append("the cache returns the value of another key")
            self._registry[thread, key] = key
            with self._pool.borrow() as things:
                if things:
                    self._failures.append("the pool hands out what is not empty")
                things.append(key)
            if self._registry.pop((thread, key)) != key:
                self._failures.append("the registry returns the value of another key")
            self._add("entries", 1)

        return work

    def _check(self) -> None:
        sent = list(range(self._count["messages"]))
        if any(listener.heard != sent for listener in self._listeners):
            self._failures.append("messages are lost or in another order")
        if len(self._registry):
            self._failures.append(f"the registry still has {len(self._registry)} entries")
        if self._pool.get_stats()["in_use"]:
            self._failures.append("objects of the pool are not given back")
        timed = self._monitor.get_performance_report()["latency"]["agents"]["count"]
        if timed != self._count["times"]:
            self._failures.append(f"{self._count['times']} steps were timed, {timed} recorded")
