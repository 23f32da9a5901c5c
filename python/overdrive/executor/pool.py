"""The work-stealing executor."""

import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Literal, TypeVar, get_args

from overdrive import _core, sources
from overdrive.executor.future import Future
from overdrive.executor.mapping import map_calls, results_of
from overdrive.executor.stats import Durations, ExecutorStats, LaneStats, TaskTotals, WaitSummary
from overdrive.executor.topology import read_topology
from overdrive.executor.view import Blocking, ExecutorView
from overdrive.executor.workers import BROKEN, Initializer, Workers, broken, register

__all__ = ["WorkStealingExecutor"]

T = TypeVar("T")

WhenFull = Literal["block", "reject", "caller_runs", "drop_oldest"]
_POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)

_MOST_STANDINS = 64
"""How many threads at most stand in for workers that announced to be blocked."""


class WorkStealingExecutor(_core.CallExecutor, ThreadPoolExecutor):
    """Run calls on threads that take work from each other.

    A drop-in for `concurrent.futures.ThreadPoolExecutor`: the same constructor, futures that are
    `concurrent.futures.Future`, and the same behaviour at shutdown, when the interpreter exits, and
    when the executor is dropped. It is a subclass only so that `loop.set_default_executor` accepts
    it. Each call runs in a copy of the context that `submit` was called in.

    Threads are started when a task finds no idle one, and park without polling. A task submitted by
    a task of the same executor is taken by its own thread newest first and by others oldest first;
    tasks from outside are taken oldest first.

    All methods may be called from any thread. After `os.fork()` the child's executor is empty and
    usable; what was submitted before belongs to the parent.

    Args:
        max_workers: The largest number of threads; by default the usable processors (of the
            affinity mask and the control group's quota) plus four, at most 32.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called at the start of each thread; if it raises, the executor is broken.
        initargs: Arguments of the initializer.
        max_queue: How many calls may wait for a thread; `None` means any number.
        when_full: What `submit` does when so many wait: `"block"` waits for room (inside a task of
            this executor, it runs a waiting call instead), `"reject"` raises `QueueFullError`,
            `"caller_runs"` runs the call on the submitting thread (but waits for room if the call
            has a key), `"drop_oldest"` cancels a call of low priority, else the oldest one.

    Raises:
        ValueError: If `max_workers` or `max_queue` is not positive, or `when_full` is unknown.
        TypeError: If the initializer cannot be called.
    """

    _names = itertools.count()

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_queue: int | None = None,
        when_full: WhenFull = "block",
    ) -> None:
        if max_workers is None:
            max_workers = min(32, read_topology().parallelism + 4)
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers!r}")
        if max_queue is not None and max_queue <= 0:
            raise ValueError(f"max_queue must be greater than 0, got {max_queue!r}")
        if when_full not in _POLICIES:
            raise ValueError(f"when_full must be one of {_POLICIES}, got {when_full!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        self._max_workers = max_workers
        self._limit = max_workers
        self._local_queues = True
        self._max_queue = max_queue
        self._when_full = when_full
        self._prefix = (
            thread_name_prefix or f"{type(self).__name__}-{next(WorkStealingExecutor._names)}"
        )
        self._initialize = None if initializer is None else Initializer(initializer, initargs)
        self._closed = False
        self._durations = Durations()
        self._begin()
        register(self)
        sources.announce("executor", self, _figures, self._durations)

    def _begin(self) -> None:
        """Begin with an empty queue and no thread."""
        self._workers = Workers(self._prefix)
        self._open(
            limit=self._limit,
            capacity=self._max_workers + min(self._max_workers, _MOST_STANDINS),
            bound=self._max_queue,
            local_queues=self._local_queues,
            overflow=self._when_full,
            future_type=Future,
            spawn=self._workers.spawn,
            abandon=broken,
            start=self._initialize,
        )
        self._durations.sampler = self._sampler()

    def _renew(self) -> None:
        """Begin anew in a forked child."""
        self._begin()
        if self._closed:
            self._close(cancel=False)

    @property
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override]
        return self._workers.threads

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._is_closed()

    @property
    def _broken(self) -> str | None:  # type: ignore[override]
        return BROKEN if self._is_broken() else None

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002 - threads need no chunks
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call `fn` with the items of the iterables, and yield the results in order.

        The calls begin at once; threads take one at a time, whatever the chunk size. An iterator
        that is closed or fails lets no further call begin.

        Args:
            fn: Called with as many arguments as there are iterables.
            *iterables: Read to the end at once, unless there is a buffer size.
            timeout: Seconds after which the iterator raises `TimeoutError`, from now on.
            chunksize: Accepted for compatibility.
            buffersize: How many calls are submitted before a result is asked for, at most.

        Raises:
            TypeError: If the buffer size is no integer.
            ValueError: If the chunk size or the buffer size is not positive.
        """
        return self._map_with(None, fn, iterables, timeout, buffersize)

    def _map_with(
        self,
        options: _core.CallOptions | None,
        fn: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        buffersize: int | None,
    ) -> Iterator[T]:
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if buffersize is None and options is None and self._max_queue is None:
            if type(self).submit is WorkStealingExecutor.submit and "submit" not in self.__dict__:
                unary = len(iterables) == 1
                arguments = iterables[0] if unary else zip(*iterables, strict=False)
                return results_of(self._map(None, fn, arguments, unary, timeout))
            return map_calls(self.submit, fn, iterables, timeout, buffersize)
        if options is None:
            return map_calls(self.submit, fn, iterables, timeout, buffersize)

        def submit(function: Callable[..., T], *args: Any) -> futures.Future[T]:
            return self._submit_with(options, function, args, None)

        return map_calls(submit, fn, iterables, timeout, buffersize)

    def submit_many(
        self, fn: Callable[..., T], *iterables: Iterable[Any]
    ) -> list[futures.Future[T]]:
        """Schedule `fn` for each item of the iterables, as `map` does, and return the futures.

        One native call for all: about as much cheaper than calls of `submit` as `map` is. To
        schedule different functions, pass `operator.call` and the functions.

        Raises:
            RuntimeError: After `shutdown`; then nothing was scheduled.
        """
        return self._submit_all(None, fn, iterables)

    def _submit_all(
        self,
        options: _core.CallOptions | None,
        fn: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
    ) -> list[futures.Future[T]]:
        unary = len(iterables) == 1
        arguments = iterables[0] if unary else zip(*iterables, strict=False)
        made: list[Any] = self._submit_many(options, fn, arguments, unary)
        return made

    def with_options(
        self,
        *,
        key: Hashable | None = None,
        priority: int = 0,
        deadline: float | None = None,
        releases_gil: bool | None = None,
    ) -> ExecutorView:
        """View this executor as one whose calls are all run in a certain way.

        A view is an executor itself and leaves the arguments of the called functions alone. Views
        are cheap; make one when you need it or keep it.

        Args:
            key: Calls of one key run one after another in the order of their submission, each on
                whatever thread is free; those of different keys take turns. Compared as the keys of
                a `dict`. `None` means no key.
            priority: Calls of a higher priority begin first. Now and then a thread takes one of a
                lower priority all the same, so that none waits for ever.
            deadline: Seconds within which the call must begin. One that is taken later does not
                run; its future raises `TimeoutError`.
            releases_gil: Whether the calls release the interpreter lock while they compute. Used by
                executors that limit how many calls hold it; `None` leaves it to their measurements.

        Raises:
            ValueError: If the deadline is negative.
        """
        if deadline is not None and deadline < 0:
            raise ValueError(f"deadline must not be negative, got {deadline!r}")
        holds = None if releases_gil is None else not releases_gil
        return ExecutorView(self, _core.CallOptions(key, priority, deadline, holds))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and let the threads end when the queue is empty.

        Args:
            wait: Return only when the threads have ended.
            cancel_futures: Cancel the calls that no thread has taken yet.
        """
        self._closed = True
        self._close(cancel_futures)
        if wait:
            self._workers.join()

    def blocking(self) -> Blocking:
        """Announce that the current task is going to wait for something other than this executor.

        Until the `with` block ends, another thread may run in the task's stead. Outside of a task
        of this executor the block does nothing.
        """
        return Blocking(self)

    def stats(self) -> ExecutorStats:
        """Say what the executor has done. Costs some ten microseconds per thread."""
        numbers = self._stats()
        for name in ("queue_wait", "run", "gil_wait"):
            numbers[name] = WaitSummary(**numbers[name])
        priorities = numbers["priorities"].items()
        numbers["priorities"] = {priority: TaskTotals(**sums) for priority, sums in priorities}
        return ExecutorStats(**numbers)

    def lane_stats(self) -> dict[Any, LaneStats]:
        """Say what the calls of each key did, for keys in use and about 1000 used lately."""
        return {key: LaneStats(**numbers) for key, numbers in self._lane_stats()}

    def get_stats(self) -> dict[str, Any]:
        """Return the same as `stats` as a dict."""
        return asdict(self.stats())


def _figures(executor: WorkStealingExecutor) -> dict[str, float]:
    numbers = executor._stats()
    return {name: numbers[name] for name in ("workers", "parked", "queued", "limit")}
