"""Futures whose usual life is native."""

from concurrent import futures
from typing import TypeVar

from overdrive import _core

__all__ = ["Future"]

T = TypeVar("T")


class Future(_core.CallFuture, futures.Future[T]):
    """What `WorkStealingExecutor.submit` returns: a `concurrent.futures.Future`, only cheaper.

    `result` and `exception` take `help=False`. Called by a task of the same executor, they run the
    awaited call on the spot if no thread has begun it, so that tasks can wait for tasks without
    using up all threads; the call then runs inside the waiting task's stack, but in its own
    context. `help=False` only waits, for example because the caller holds a lock that the awaited
    call needs.
    """
