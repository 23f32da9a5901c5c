"""The native module: engines written in Rust."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import GenericAlias
from typing import Any, Generic, ParamSpec, TypeVar, final, overload

from typing_extensions import disjoint_base

__all__ = ["CallQueue", "CallWorker", "ShardedRegistry", "__version__"]

__version__: str

_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")
_P = ParamSpec("_P")
_T = TypeVar("_T")

@disjoint_base
class ShardedRegistry(Generic[_K, _V]):
    """The native part of `overdrive.registry.ShardedRegistry`.

    Keys are hashed and compared as by `dict`: an exception of `__hash__` or `__eq__` reaches the
    caller and leaves the registry as it was, and both may use the same registry. Every method is
    atomic and may be called from any thread.
    """

    def __new__(cls, num_shards: int = 16) -> ShardedRegistry[_K, _V]: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    @property
    def num_shards(self) -> int:
        """The number of independently locked shards."""
    def register(self, key: _K, value: _V) -> bool:
        """Store a value unless the key is taken.

        Returns:
            Whether the value was stored; `False` means that the key keeps its first value.
        """
    @overload
    def get(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _D) -> _V | _D: ...
    @overload
    def remove(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def remove(self, key: _K, default: _D) -> _V | _D: ...
    def size(self) -> int:
        """Count the entries."""
    def get_all(self) -> dict[_K, _V]:
        """Copy all entries, as they were at one moment."""
    def get_agent_ids(self) -> list[_K]:
        """Copy all keys, as they were at one moment."""
    def clear(self) -> None:
        """Remove all entries at one moment."""
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_K]: ...

@final
class CallQueue:
    """The native part of `overdrive.executor.WorkStealingExecutor`."""

    def __new__(
        cls,
        max_workers: int,
        future_type: type[Future[Any]],
        spawn: Callable[[CallWorker], None],
        abandon: Callable[[Future[Any]], None],
        start: Callable[[], bool] | None,
    ) -> CallQueue: ...
    def submit(
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]: ...
    def shutdown(self, cancel: bool) -> list[Future[Any]]:
        """Accept no more calls and return the futures of those taken back if `cancel`."""
    def help(self) -> bool:
        """Run one queued call on this thread; `False` if there is none.

        Raises:
            BaseException: What the call raised if it is no `Exception`, such as the
                `KeyboardInterrupt` that was meant for this thread.
        """
    def queued(self) -> int: ...
    def stats(self) -> dict[str, int]: ...

@final
class CallWorker:
    """A thread's place in a `CallQueue`."""

    def run(self) -> None:
        """Run calls on this thread until the queue is shut down and empty."""
