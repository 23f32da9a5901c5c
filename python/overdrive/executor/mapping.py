"""The iterators that `map` returns."""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

from overdrive import _core

__all__ = ["map_calls", "results_of"]

T = TypeVar("T")


def results_of(results: "_core.MapResults[T]") -> Iterator[T]:
    """Yield the results of a native map; no further call begins when the iterator is closed."""
    try:
        yield from results
    finally:
        results.cancel()


def map_calls(
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
