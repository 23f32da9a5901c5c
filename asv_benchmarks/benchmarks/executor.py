"""The work-stealing executor beside the standard library's thread pool, and no pool at all."""

import hashlib
import zlib
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
