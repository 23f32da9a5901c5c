"""A thread pool with the interface of `concurrent.futures` and work-stealing queues.

On a build of CPython with the global interpreter lock, pure Python tasks do not run in parallel on
this executor or on any other: what it saves there is the cost of handing a task over. Work that
waits, or that releases the lock, overlaps. On a free-threaded build tasks run in parallel.
"""

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, ParamSpec, TypeVar

from overdrive import _core

__all__ = ["WorkStealingExecutor"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class WorkStealingExecutor(ThreadPoolExecutor):
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
        max_workers: The largest number of threads; by default the usable processors plus four, at
            most 32.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called at the start of each thread; if it raises, the executor is broken.
        initargs: Arguments of the initializer.

    Raises:
        ValueError: If `max_workers` is not positive.
        TypeError: If the initializer cannot be called.
    """

    _names = itertools.count()

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is None:
            max_workers = min(32, _usable_processors() + 4)
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        self._max_workers = max_workers
        self._prefix = thread_name_prefix or f"{type(self).__name__}-{next(self._names)}"
        self._start = None if initializer is None else _Initializer(initializer, initargs)
        self._open()
        _executors.add(self)

    def _open(self) -> None:
        """Begin with an empty queue and no thread."""
        self._workers = _Workers(self._prefix)
        self._calls = _core.CallQueue(
            self._max_workers, Future, self._workers.spawn, _abandon, self._start
        )

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule `fn(*args, **kwargs)`.

        Returns:
            The future of the call.

        Raises:
            RuntimeError: After `shutdown`, or when no thread could be started.
            concurrent.futures.thread.BrokenThreadPool: If an initializer has failed.
        """
        if _exiting.is_set():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        return self._calls.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and let the threads end when the queue is empty.

        Args:
            wait: Return only when the threads have ended.
            cancel_futures: Cancel the calls that no thread has taken yet.
        """
        for future in self._calls.shutdown(cancel_futures):
            future.cancel()
        if wait:
            self._workers.join()

    def help(self) -> bool:
        """Run one call that no thread has taken yet on the current thread.

        This is for a thread that would otherwise wait for the executor's calls to be done.

        Returns:
            `False` if no call is waiting.

        Raises:
            BaseException: What the call raised if it is no `Exception`, for example a
                `KeyboardInterrupt`, which is meant for this thread. Its future has it too.
        """
        return self._calls.help()

    def stats(self) -> dict[str, int]:
        """Count what the executor has done.

        Returns:
            `workers` (threads alive), `queued`, and since the start `submitted`, `started`,
            `steals` (tasks taken from another thread) and `parks` (times a thread went to sleep).
        """
        return self._calls.stats()


class _Workers:
    """The threads of one executor. Does not refer to the executor, so that it can be dropped."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._threads: list[threading.Thread] = []

    def spawn(self, worker: _core.CallWorker) -> None:
        """Start a thread; do without if there are others to do its work."""
        thread = threading.Thread(target=worker.run, name=f"{self._prefix}_{len(self._threads)}")
        try:
            thread.start()
        except RuntimeError:
            if not any(other.is_alive() for other in self._threads):
                raise
            _log.warning("could not start another thread; %d remain", len(self._threads))
        else:
            self._threads.append(thread)

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in list(self._threads):
            thread.join()


class _Initializer:
    """Runs a user's initializer and says whether it worked."""

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args

    def __call__(self) -> bool:
        try:
            self._function(*self._args)
        except BaseException:  # noqa: BLE001 - as the standard library's executors do
            _log.critical("Exception in initializer:", exc_info=True)
            return False
        return True


def _abandon(future: Future[Any]) -> None:
    """Fail a call that will never run because an initializer failed."""
    future.set_exception(
        BrokenThreadPool("A thread initializer failed, the thread pool is not usable anymore")
    )


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_executors: weakref.WeakSet[WorkStealingExecutor] = weakref.WeakSet()
_exiting = threading.Event()
_left_to_parent: list[object] = []


def _finish_all() -> None:
    """Run what was submitted, and end all threads, before the interpreter is torn down."""
    _exiting.set()
    executors = list(_executors)
    for executor in executors:
        executor.shutdown(wait=False)
    for executor in executors:
        executor.shutdown(wait=True)


def _renew_after_fork() -> None:
    """Give each executor of a forked child new queues.

    The threads did not survive the fork, and any lock of the old queues may be held by one of them
    for ever: the old queues are kept alive so that nothing ever touches them again.
    """
    for executor in list(_executors):
        _left_to_parent.append(executor._calls)
        executor._open()


# Like the standard library's own pool: `atexit` would be too late, because the interpreter waits
# for threads before it calls what is registered there.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
