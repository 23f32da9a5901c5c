"""A thread pool with the interface of `concurrent.futures` and work-stealing queues.

On a build of CPython with the global interpreter lock, pure Python tasks do not run in parallel on
this executor or on any other: what it saves there is the cost of handing a task over. Work that
waits, or that releases the lock, overlaps. On a free-threaded build tasks run in parallel.
"""

import collections
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from overdrive import _core
from overdrive._adaptive import AdaptiveConfig, Governor, default_largest
from overdrive._controller import Bounds, start
from overdrive._topology import Topology, read_topology
from overdrive._workers import BROKEN, Initializer, Workers, broken, register

__all__ = [
    "AdaptiveConfig",
    "AdaptiveThreadPool",
    "ExecutorStats",
    "ExecutorView",
    "Future",
    "LaneStats",
    "TaskTotals",
    "Topology",
    "WaitSummary",
    "WorkStealingExecutor",
    "read_topology",
]

P = ParamSpec("P")
T = TypeVar("T")

WhenFull = Literal["block", "reject", "caller_runs", "drop_oldest"]
_POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)

_MOST_STANDINS = 64
"""How many threads at most stand in for workers that announced to be blocked."""


class Future(_core.CallFuture, futures.Future[T]):
    """What `WorkStealingExecutor.submit` returns: a `concurrent.futures.Future`, only cheaper.

    `result` and `exception` take `help=False`. Called by a task of the same executor, they run the
    awaited call on the spot if no thread has begun it, so that tasks can wait for tasks without
    using up all threads; the call then runs inside the waiting task's stack, but in its own
    context. `help=False` only waits, for example because the caller holds a lock that the awaited
    call needs.
    """


@dataclass(frozen=True, slots=True)
class WaitSummary:
    """How some durations are distributed, in seconds; quantiles are at most an eighth too long."""

    count: int
    total: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """How long the tasks of one priority waited and ran, in seconds."""

    tasks: int
    queue_wait: float
    max_queue_wait: float
    run: float


@dataclass(frozen=True, slots=True)
class LaneStats(TaskTotals):
    """What the tasks of one key did, and how many wait."""

    queued: int


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """What an executor has done since it was made.

    Attributes:
        workers: Threads alive.
        parked: Of those, the ones that sleep.
        limit: How many may be awake at a time.
        queued: Tasks that wait; an estimate while tasks run.
        submitted: Tasks accepted.
        started: Tasks that a thread began.
        steals: Times that a thread took tasks from another thread's queue.
        parks: Times that a thread went to sleep.
        expired: Tasks that did not run because their deadline had passed.
        queue_wait: From the submission until a thread began the task.
        run: From the begin of the task until it returned.
        gil_wait: Until a thread got the interpreter, each time it wanted it to run tasks. Close to
            zero on a free-threaded build.
        priorities: The tasks whose priority is not zero, by priority.
    """

    workers: int
    parked: int
    limit: int
    queued: int
    submitted: int
    started: int
    steals: int
    parks: int
    expired: int
    queue_wait: WaitSummary
    run: WaitSummary
    gil_wait: WaitSummary
    priorities: dict[int, TaskTotals]


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
        self._begin()
        register(self)

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
                return _results(self._map(None, fn, arguments, unary, timeout))
            return _map_calls(self.submit, fn, iterables, timeout, buffersize)
        if options is None:
            return _map_calls(self.submit, fn, iterables, timeout, buffersize)

        def submit(function: Callable[..., T], *args: Any) -> futures.Future[T]:
            return self._submit_with(options, function, args, None)

        return _map_calls(submit, fn, iterables, timeout, buffersize)

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
    ) -> "ExecutorView":
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

    def blocking(self) -> "Blocking":
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


class AdaptiveThreadPool(WorkStealingExecutor):
    """An executor that sets its number of threads by what it measures.

    It begins with half as many threads again as there are cores (as many as the affinity mask and
    the control group's quota leave to this process). While tasks wait for a thread and the threads
    that there are wait for something other than processor or interpreter, it grows; while threads
    have nothing to do, or only compete, it shrinks, slowly. Under a steady load the size is steady.

    Args:
        config: Options; an `AdaptiveConfig`, or any object with some of its attributes.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called at the start of each thread; if it raises, the executor is broken.
        initargs: Arguments of the initializer.
        topology: The processors that this process may use; by default found out.

    Raises:
        ValueError: If the options are out of their ranges.
    """

    def __init__(
        self,
        config: object | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        topology: Topology | None = None,
    ) -> None:
        self._config = AdaptiveConfig.of(config)
        cores = (topology or read_topology()).cores
        largest = self._config.max_workers or default_largest(cores)
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


class ExecutorView(futures.Executor):
    """An executor whose calls are run in a certain way by another; see `with_options`.

    It has no threads of its own: shutting it down, also at the end of a `with` block, does nothing.
    """

    def __init__(self, executor: WorkStealingExecutor, options: _core.CallOptions) -> None:
        self._executor = executor
        self._options = options

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Schedule `fn(*args, **kwargs)`."""
        return self._executor._submit_with(self._options, fn, args, kwargs or None)

    def submit_many(
        self, fn: Callable[..., T], *iterables: Iterable[Any]
    ) -> list[futures.Future[T]]:
        """Schedule `fn` for each item of the iterables; see `WorkStealingExecutor.submit_many`."""
        return self._executor._submit_all(self._options, fn, iterables)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002 - threads need no chunks
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call `fn` with the items of the iterables; see `WorkStealingExecutor.map`."""
        return self._executor._map_with(self._options, fn, iterables, timeout, buffersize)


class Blocking:
    """A section in which a task waits; see `WorkStealingExecutor.blocking`."""

    def __init__(self, executor: WorkStealingExecutor) -> None:
        self._executor = executor
        self._counted = False

    def __enter__(self) -> None:
        """Let another thread run."""
        self._counted = self._executor._set_blocked(blocked=True)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the thread's place again."""
        if self._counted:
            self._executor._set_blocked(blocked=False)


def _results(results: "_core.MapResults[T]") -> Iterator[T]:
    try:
        yield from results
    finally:
        results.cancel()


def _map_calls(
    submit: Callable[..., futures.Future[T]],
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[T]:
    """Map by one submission for each call, at once or as far ahead as the buffer allows."""
    end = None if timeout is None else time.monotonic() + timeout
    arguments = zip(*iterables, strict=False)
    first = arguments if buffersize is None else itertools.islice(arguments, buffersize)
    pending = collections.deque(submit(fn, *args) for args in first)
    return _call_results(submit, fn, arguments, pending, end)


def _call_results(
    submit: Callable[..., futures.Future[T]],
    fn: Callable[..., T],
    arguments: Iterator[tuple[Any, ...]],
    pending: collections.deque[futures.Future[T]],
    end: float | None,
) -> Iterator[T]:
    try:
        while pending:
            for args in itertools.islice(arguments, 1):
                pending.append(submit(fn, *args))
            yield _result_or_cancel(pending.popleft(), end)
    finally:
        for future in pending:
            future.cancel()


def _result_or_cancel(future: futures.Future[T], end: float | None) -> T:
    """Wait for a result; what was not begun by the end is cancelled."""
    try:
        return future.result(None if end is None else end - time.monotonic())
    finally:
        future.cancel()
        del future  # an exception would refer to it, and it to the exception
