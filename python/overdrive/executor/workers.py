"""The threads of executors, and what happens to them at exit and in a fork."""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, Protocol

from overdrive import _core

__all__ = ["BROKEN", "Initializer", "Workers", "broken", "register"]

# The standard library's executors log there, and users who filter know the name.
_log = logging.getLogger("concurrent.futures")

BROKEN = "A thread initializer failed, the thread pool is not usable anymore"


class Workers:
    """The threads of one executor. Does not refer to the executor, so that it can be dropped."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._started = 0
        self._threads: set[threading.Thread] = set()

    def spawn(self, worker: _core.CallWorker) -> None:
        """Start a thread; do without if there are others to do its work."""
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            number = self._started
            self._started += 1
        thread = threading.Thread(target=worker.run, name=f"{self._prefix}_{number}")
        try:
            thread.start()
        except RuntimeError:
            if not any(other.is_alive() for other in self.threads):
                raise
            _log.warning("could not start another thread; %d remain", len(self.threads))
        else:
            with self._lock:
                self._threads.add(thread)

    @property
    def threads(self) -> set[threading.Thread]:
        """The threads that were started and, when last looked at, had not ended."""
        with self._lock:
            return set(self._threads)

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self.threads:
            thread.join()


class Initializer:
    """Runs a user's initializer and says whether it worked."""

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args

    def __call__(self) -> bool:
        """Run the initializer on this thread."""
        try:
            self._function(*self._args)
        except BaseException:  # noqa: BLE001 - as the standard library's executors do
            _log.critical("Exception in initializer:", exc_info=True)
            return False
        return True


def broken() -> BrokenThreadPool:
    """Make the exception of a call that will never run because an initializer failed."""
    return BrokenThreadPool(BROKEN)


class _Registered(Protocol):
    def shutdown(self, wait: bool = ...) -> None: ...
    def _renew(self) -> None: ...


_executors: weakref.WeakSet[Any] = weakref.WeakSet()


def register(executor: _Registered) -> None:
    """Have an executor finish when the interpreter exits, and begin anew in a forked child."""
    _executors.add(executor)


def _finish_all() -> None:
    """Run what was submitted, and end all threads, before the interpreter is torn down."""
    _core.refuse_calls()
    executors = list(_executors)
    for executor in executors:
        executor.shutdown(wait=False)
    for executor in executors:
        executor.shutdown(wait=True)


def _renew_after_fork() -> None:
    """Give each executor of a forked child new queues.

    The threads did not survive the fork, and any lock of the old queues may be held by one of them
    for ever: the old queues are never touched again.
    """
    for executor in list(_executors):
        executor._renew()


# Like the standard library's own pool: `atexit` would be too late, because the interpreter waits
# for threads before it calls what is registered there.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
