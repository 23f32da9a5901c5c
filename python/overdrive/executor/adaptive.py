"""An executor that sets its number of threads by what it measures."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from overdrive.executor.controller import Bounds, start
from overdrive.executor.governor import Governor
from overdrive.executor.pool import WorkStealingExecutor
from overdrive.executor.topology import Topology, read_topology

__all__ = ["AdaptiveConfig", "AdaptiveThreadPool"]


@dataclass(slots=True, kw_only=True)
class AdaptiveConfig:
    """Options of `AdaptiveThreadPool`; classes with further options derive from it.

    Attributes:
        min_workers: The least number of threads.
        max_workers: The greatest number of threads; `None` means 32 for each core, at most 256.
        cpu_aware_sizing: Change the number of threads by what is measured. Otherwise it stays at
            `max_workers`, or at half as many again as there are cores.
        work_stealing_enabled: Let tasks submitted by tasks wait with their own thread, which takes
            the newest first, until another thread steals them. Otherwise they wait in one queue
            with all others.
        gil_aware_scheduling: On a build with the global interpreter lock, keep tasks that hold it
            from occupying more than two threads, so that the others are free for tasks that do not.

    Raises:
        ValueError: If the numbers of threads are out of order.
    """

    min_workers: int = 1
    max_workers: int | None = None
    cpu_aware_sizing: bool = True
    work_stealing_enabled: bool = True
    gil_aware_scheduling: bool = True

    def __post_init__(self) -> None:
        """Check the numbers of threads."""
        if self.min_workers < 1:
            raise ValueError(f"min_workers must be at least 1, got {self.min_workers!r}")
        if self.max_workers is not None and self.max_workers < self.min_workers:
            raise ValueError(
                f"max_workers must be at least {self.min_workers}, got {self.max_workers!r}"
            )


class AdaptiveThreadPool(WorkStealingExecutor):
    """An executor that sets its number of threads by what it measures.

    It begins with half as many threads again as there are cores (as many as the affinity mask and
    the control group's quota leave to this process). While tasks wait for a thread and the threads
    that there are wait for something other than processor or interpreter, it grows; while threads
    have nothing to do, or only compete, it shrinks, slowly. Under a steady load the size is steady.

    Args:
        config: Options, checked again and copied; by default those of `AdaptiveConfig()`.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called at the start of each thread; if it raises, the executor is broken.
        initargs: Arguments of the initializer.
        topology: The processors that this process may use; by default found out.

    Raises:
        ValueError: If the options are out of their ranges.
    """

    def __init__(
        self,
        config: AdaptiveConfig | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        topology: Topology | None = None,
    ) -> None:
        self._config = replace(config) if config else AdaptiveConfig()
        cores = (topology or read_topology()).cores
        largest = self._config.max_workers or _default_largest(cores)
        self._bounds = Bounds(
            smallest=min(self._config.min_workers, largest), largest=largest, cores=cores
        )
        self._governor: Governor | None = None
        super().__init__(largest, thread_name_prefix, initializer, initargs)

    def _begin(self) -> None:
        self._local_queues = self._config.work_stealing_enabled
        fixed = not self._config.cpu_aware_sizing and self._config.max_workers is not None
        self._limit = self._max_workers if fixed else start(self._bounds)
        super()._begin()
        self._governor = Governor(self, self._bounds, self._config)
        self._governing = self._governor.start(f"{self._prefix}_governor")

    def _resize(self, size: int) -> None:
        self._limit = size
        self._set_limit(size)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and let the threads end when the queue is empty.

        Args:
            wait: Return only when the threads have ended.
            cancel_futures: Cancel the calls that no thread has taken yet.
        """
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and threading.current_thread() is not self._governing:
            self._governing.join()

    def get_stats(self) -> dict[str, Any]:
        """Return `stats` as a dict, and what the measurements say.

        Returns:
            Besides the attributes of `ExecutorStats`: `size` (how many threads there should be),
            `workload` (`"idle"`, `"cpu_bound"`, `"gil_bound"`, `"mixed"` or `"io_bound"`), `grown`
            and `shrunk` (how often the size was changed), `cores`, and `gil_holding_functions` (how
            many functions are known to hold the interpreter lock).
        """
        governor = self._governor
        return super().get_stats() | (governor.stats() if governor is not None else {})


def _default_largest(cores: int) -> int:
    """The greatest number of threads if nothing is said: what waits for I/O needs many."""
    return max(cores, min(256, 32 * cores))
