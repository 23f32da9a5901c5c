"""The work-stealing executor beside the standard library's thread pool, and no pool at all."""

import hashlib
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import Any

from overdrive.executor import WorkStealingExecutor

WORKERS = 4
SMALL = [i.to_bytes(4, "big") * 8 for i in range(5_000)]
"""So little to do that handing it over is most of the time."""
LARGE = [bytes([i]) * 1_000_000 for i in range(32)]
"""Enough to do; hashing it releases the global interpreter lock."""


class Inline(Executor):
    """Runs each call in `submit`, as a `for` loop would."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call and return its finished future."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


WAYS: dict[str, Callable[[], Executor]] = {
    "WorkStealingExecutor": lambda: WorkStealingExecutor(WORKERS),
    "ThreadPoolExecutor": lambda: ThreadPoolExecutor(WORKERS),
    "no threads": Inline,
}


def digest(block: bytes) -> bytes:
    """Hash a block."""
    return hashlib.sha256(block).digest()


class Calls:
    """The time from the first submit until all results are there."""

    param_names = ("way",)
    params = (list(WAYS),)

    def setup(self, way: str) -> None:
        """Make an executor and have it start its threads."""
        self.executor = WAYS[way]()
        list(self.executor.map(zlib.crc32, SMALL[: 10 * WORKERS]))

    def teardown(self, _way: str) -> None:
        """End the threads."""
        self.executor.shutdown()

    def time_small_calls(self, _way: str) -> None:
        """Check sums of 5,000 small blocks: mostly the cost of handing over."""
        submit = self.executor.submit
        wait([submit(zlib.crc32, block) for block in SMALL])

    def time_small_results(self, _way: str) -> None:
        """The same, asking each future for its result instead of waiting for all."""
        submit = self.executor.submit
        for future in [submit(zlib.crc32, block) for block in SMALL]:
            future.result()

    def time_many_small_calls(self, _way: str) -> None:
        """The same with one submission, where there is such a thing."""
        executor = self.executor
        if isinstance(executor, WorkStealingExecutor):
            futures = executor.submit_many(zlib.crc32, SMALL)
        else:
            futures = [executor.submit(zlib.crc32, block) for block in SMALL]
        for future in futures:
            future.result()

    def time_large_calls(self, _way: str) -> None:
        """Hash 32 blocks of a megabyte, which releases the lock."""
        wait([self.executor.submit(digest, block) for block in LARGE])

    def time_map(self, _way: str) -> None:
        """Check sums of 5,000 small blocks by `map`."""
        for _ in self.executor.map(zlib.crc32, SMALL):
            pass

    def time_one_at_a_time(self, _way: str) -> None:
        """Hand over 1,000 small calls, each after the result of the one before."""
        submit = self.executor.submit
        for block in SMALL[:1_000]:
            submit(zlib.crc32, block).result()

    def time_calls_that_submit(self, _way: str) -> None:
        """Have 50 calls submit 50 small calls each."""
        submit = self.executor.submit

        def fan_out(start: int) -> list[Future[int]]:
            return [submit(zlib.crc32, block) for block in SMALL[start : start + 50]]

        for outer in [submit(fan_out, 50 * i) for i in range(50)]:
            wait(outer.result())


UNEVEN = [LARGE[0][: 20_000 * size] for size in [1] * 60 + [2, 4, 8, 16, 24]]
"""Blocks of which the large ones come last, which is worst for who counts blocks."""
KEYS = 50


class Loads:
    """The time of loads that differ in more than the cost of handing over."""

    param_names = ("way",)
    params = (["WorkStealingExecutor", "ThreadPoolExecutor"],)

    def setup(self, way: str) -> None:
        """Make executors and have them start their threads."""
        kind = WorkStealingExecutor if way == "WorkStealingExecutor" else ThreadPoolExecutor
        self.two, self.many = kind(2), kind(64)
        list(self.two.map(time.sleep, [0.001] * 20))
        list(self.many.map(time.sleep, [0.001] * 500))

    def teardown(self, _way: str) -> None:
        """End the threads."""
        self.two.shutdown()
        self.many.shutdown()

    def time_thousand_waits(self, _way: str) -> None:
        """Wait a thousand times for a millisecond, on 64 threads; at best 16 ms."""
        for _ in self.many.map(time.sleep, [0.001] * 1_000):
            pass

    def time_uneven_work(self, _way: str) -> None:
        """Hash blocks of very different sizes on two threads."""
        for _ in self.two.map(digest, UNEVEN):
            pass

    def time_ordered_by_key(self, _way: str) -> None:
        """Keep the calls of 50 keys in order: with keys, or with a lock and a queue each."""
        executor = self.two
        if isinstance(executor, WorkStealingExecutor):
            views = [executor.with_options(key=key) for key in range(KEYS)]
            futures = [views[i % KEYS].submit(zlib.crc32, b) for i, b in enumerate(SMALL)]
        else:
            lanes = [PlainLane(executor) for _ in range(KEYS)]
            futures = [lanes[i % KEYS].submit(zlib.crc32, b) for i, b in enumerate(SMALL)]
        for future in futures:
            future.result()


class PlainLane:
    """Calls in order on a plain executor, the way it is usually written."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._busy = False

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run a call after those before it."""
        future: Future[Any] = Future()
        with self._lock:
            self._calls.append(lambda: future.set_result(fn(*args)))
            if self._busy:
                return future
            self._busy = True
        self._executor.submit(self._run)
        return future

    def _run(self) -> None:
        self._calls[0]()
        with self._lock:
            self._calls.popleft()
            self._busy = bool(self._calls)
        if self._busy:
            self._executor.submit(self._run)
