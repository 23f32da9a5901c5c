"""Ways to look at an executor: with options for its calls, or from inside a task that waits."""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from overdrive import _core

if TYPE_CHECKING:
    from overdrive.executor.pool import WorkStealingExecutor

__all__ = ["Blocking", "ExecutorView"]

P = ParamSpec("P")
T = TypeVar("T")


class ExecutorView(futures.Executor):
    """An executor whose calls are run in a certain way by another; see `with_options`.

    It has no threads of its own: shutting it down, also at the end of a `with` block, does nothing.
    """

    def __init__(self, executor: "WorkStealingExecutor", options: _core.CallOptions) -> None:
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

    def __init__(self, executor: "WorkStealingExecutor") -> None:
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
