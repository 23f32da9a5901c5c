"""The native module: engines written in Rust."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import Future
from datetime import timedelta
from types import GenericAlias
from typing import Any, ClassVar, Final, Generic, Literal, ParamSpec, Self, TypeVar, final, overload

from _typeshed import SupportsKeysAndGetItem
from numpy import float32
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from overdrive.pools import MemoryPoolStats, PoolStats
from overdrive.registry import RegistryItems, RegistryKeys, RegistryValues

__all__ = [
    "ABSENT",
    "Absent",
    "Borrow",
    "Cache",
    "CachedCall",
    "CallExecutor",
    "CallFuture",
    "CallOptions",
    "CallSample",
    "CallSampler",
    "CallWorker",
    "Change",
    "Counter",
    "Gauge",
    "GcMeter",
    "GilSampler",
    "Histogram",
    "HistogramSnapshot",
    "MapResults",
    "MemoryPool",
    "ObjectPool",
    "ShardedRegistry",
    "Timer",
    "Timing",
    "Watch",
    "WorkStealingQueue",
    "__version__",
    "_cache_state",
    "_restore_cache",
    "attribute_seconds",
    "call_tag",
    "current_timing",
    "refuse_calls",
    "tally",
    "thread_seconds",
]

__version__: str

_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")
_P = ParamSpec("_P")
_T = TypeVar("_T")

@disjoint_base
class Cache(Generic[_K, _V]):
    """The native part of `overdrive.caches.Cache`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    @property
    def maxsize(self) -> float:
        """What the sizes of all values may add up to."""
    @property
    def currsize(self) -> float:
        """What the sizes of all values add up to, expired ones removed."""
    def get(self, key: _K, default: Any = None) -> Any:
        """Return the value of a key, or `default`; `__missing__` is not asked."""
    def pop(self, key: _K, default: Any = ...) -> Any:
        """Remove a key and return its value.

        Raises:
            KeyError: If there is none, and no default.
        """
    def setdefault(self, key: _K, default: Any = None) -> Any:
        """Return the value of a key, which becomes `default` if there is none."""
    def popitem(self) -> tuple[_K, _V]:
        """Remove and return the pair that was not used for the longest time.

        Raises:
            KeyError: If the cache is empty.
        """
    def clear(self) -> None:
        """Remove everything, and let no load that is under way be stored."""
    def expire(self, time: Any = None) -> list[tuple[_K, _V]]:
        """Remove the pairs that have expired by a time, by default now, and return them."""
    def set(
        self,
        key: _K,
        value: _V,
        *,
        ttl: float | timedelta | None = None,
        tags: str | Iterable[str] | None = None,
    ) -> None:
        """Store a value with a time to live, or with tags, of its own.

        Args:
            key: The key.
            value: The value.
            ttl: How long it lives, in the unit of the timer (seconds) or as a `timedelta`; by
                default as long as the cache says.
            tags: Names by which `invalidate_tag` removes it.

        Raises:
            ValueError: If the value is too large, or `ttl` is not positive.
        """
    def invalidate_tag(self, tag: str) -> int:
        """Remove all entries with a tag, and let no load under way store one.

        Returns:
            The number of entries removed.
        """
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def _set_up(
        self,
        max_size: float,
        *,
        hooks: int,
        sized: bool,
        timer: Timer | None = None,
        ttl: Any = None,
        listener: Callable[[Any, Any, Any], object] | None = None,
    ) -> None: ...
    @property
    def _timer(self) -> Timer | None: ...
    @property
    def _ttl(self) -> Any: ...
    @property
    def _listener(self) -> Callable[[Any, Any, Any], object] | None: ...
    def _keys(self) -> list[_K]: ...
    def _entries(self) -> list[tuple[_K, _V]]: ...
    def _stats(self) -> tuple[int, int, int, int, int]: ...
    def _begin_load(self) -> int: ...
    def _end_load(self) -> None: ...
    def _is_current(self, key: _K, ticket: int, tags: Iterable[str]) -> bool: ...
    def _store_loaded(
        self,
        key: _K,
        value: _V,
        ticket: int,
        ttl: float | timedelta | None = None,
        tags: str | Iterable[str] | None = None,
    ) -> bool: ...
    def _copy_from(self, other: Cache[_K, _V], timer: Timer | None) -> None: ...

def _cache_state(cache: Cache[Any, Any]) -> Any: ...
def _restore_cache(cache: Cache[Any, Any], state: Any) -> None: ...

@disjoint_base
class CachedCall:
    """The native part of `overdrive.caches.CachedFunction`."""

    def __new__(
        cls,
        cache: Cache[Any, Any],
        miss: Callable[[Any, tuple[Any, ...], dict[str, Any] | None], Any],
        *,
        key: Callable[..., Hashable] | None = None,
        typed: bool = False,
        bare: bool = False,
        method: bool = False,
    ) -> Self: ...
    @property
    def cache(self) -> Any:
        """The cache in which the results are."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def cache_key(self, *args: Any, **kwargs: Any) -> Hashable:
        """Return the key under which the result for these arguments is stored."""

@final
class Timer:
    """Where a cache reads the time.

    A context manager, in which time stands still for the current thread. Attributes are those of
    the function it was made of.
    """

    def __new__(cls, timer: Callable[[], Any]) -> Timer: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_error: object) -> None: ...
    def __copy__(self) -> Timer: ...
    @staticmethod
    def _restore(timer: Callable[[], Any], origin: Any) -> Timer: ...

@final
class Absent:
    """The type of `ABSENT`."""

ABSENT: Final[Absent]
"""Stands, in `ShardedRegistry.compare_and_set`, for the value of a key that is not there."""

@final
class Change(Generic[_K, _V]):
    """What happened to one key of a registry."""

    __match_args__ = ("kind", "key", "old", "new")
    @property
    def kind(self) -> Literal["added", "replaced", "removed"]: ...
    @property
    def key(self) -> _K:
        """The key, as the registry stores it."""
    @property
    def old(self) -> _V | None:
        """The value before, `None` if the key was added."""
    @property
    def new(self) -> _V | None:
        """The value after, `None` if the key was removed."""

@final
class Watch:
    """Ends the calls of one callback of a registry, by `close()` or as a context manager."""

    def close(self) -> None:
        """Make no further call; again is harmless.

        A call that another thread is making at this moment is not waited for.
        """
    @property
    def closed(self) -> bool: ...
    def __enter__(self) -> Watch: ...
    def __exit__(self, *_exception: object) -> None: ...

@disjoint_base
class ShardedRegistry(MutableMapping[_K, _V]):
    """Map keys to values in independently locked shards.

    A `MutableMapping` with the operations of `dict`, each of them atomic, from any thread. Keys are
    hashed and compared as by `dict`: an exception of `__hash__` or `__eq__` reaches the caller and
    leaves the registry as it was, and both may use the same registry. There is no order.

    Iteration goes over a copy of one moment: changes meanwhile are allowed, and not seen. The views
    that `keys()`, `values()` and `items()` give show the content of the moment of each use.

    Functions given to `get_or_create`, `update`, `pop_if` and `watch` are called with no lock held
    and may use the registry.

    Args:
        num_shards: Number of independent locks, 16 unless given.

    Raises:
        ValueError: If `num_shards` is not in 1 to 65536.
    """

    def __new__(cls, num_shards: int | None = None) -> Self: ...
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
    def register_many(
        self, agents: SupportsKeysAndGetItem[_K, _V] | Iterable[tuple[_K, _V]]
    ) -> int:
        """Register each pair of a mapping or an iterable.

        Each registration is atomic, not all together.

        Returns:
            How many values were stored.
        """
    @overload
    def get(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _D) -> _V | _D: ...
    @overload
    def get_many(self, keys: Iterable[_K], default: None = None) -> list[_V | None]: ...
    @overload
    def get_many(self, keys: Iterable[_K], default: _D) -> list[_V | _D]:
        """Get the values of many keys, in the order of the keys.

        Each look-up is atomic; for all at one moment use `snapshot`.
        """
    @overload
    def remove(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def remove(self, key: _K, default: _D) -> _V | _D:
        """Remove a key if it is there, and return its value."""
    @overload
    def remove_many(self, keys: Iterable[_K], default: None = None) -> list[_V | None]: ...
    @overload
    def remove_many(self, keys: Iterable[_K], default: _D) -> list[_V | _D]:
        """Remove many keys and return their values, in the order of the keys."""
    def get_or_create(self, key: _K, factory: Callable[[], _V]) -> _V:
        """Get a value, or store what the factory makes.

        At most one thread at a time runs a factory for the same key; others that want it wait, and
        a signal handler that raises ends the wait. If the factory raises, the exception goes to the
        caller whose factory it was, and the next of the waiting runs its own.

        Raises:
            RuntimeError: If the factory waits for its own key, directly or through the factories of
                other threads.
        """
    def compare_and_set(self, key: _K, expected: _V | Absent, new: _V | Absent) -> bool:
        """Store a value if the present one is as expected.

        The values are compared as by `in`: identical or equal. `ABSENT` as `expected` means that
        the key must be missing, and as `new` that it is to be removed.

        Returns:
            Whether the present value was as expected, and `new` is in its place.

        Raises:
            RuntimeError: If the comparison itself replaces the value again and again.
        """
    def pop_if(
        self, key: _K, predicate: Callable[[_V], object], default: _D | None = None
    ) -> _V | _D | None:
        """Remove a key if the predicate is true of its value.

        The predicate may be called more than once, if the value is replaced meanwhile.

        Returns:
            The removed value, or `default`.

        Raises:
            RuntimeError: If the predicate itself replaces the value again and again.
        """
    def watch(self, callback: Callable[[Change[_K, _V]], object]) -> Watch:
        """Call a function after each change that begins after `watch` has returned.

        All changes of one key are told in the order in which they happened, and no two calls are
        made at the same time. The thread that made a change tells it before its method returns,
        unless another thread is telling changes at that moment: then that one tells it too. So a
        callback that changes the registry is not called recursively, but told after it returns.
        An exception of a callback is reported to `sys.unraisablehook`, and stops nothing.

        A thread may have to tell the changes of others for as long as they go on making some, and
        changes that are made faster than they are told pile up. Callbacks should be short.

        Returns:
            A handle that ends the calls. The registry keeps the callback until then.
        """
    def size(self) -> int:
        """Count the entries."""
    def get_all(self) -> dict[_K, _V]:
        """Copy all entries, as they were at one moment."""
    def snapshot(self) -> dict[_K, _V]:
        """Copy all entries, as they were at one moment."""
    def get_agent_ids(self) -> list[_K]:
        """Copy all keys, as they were at one moment."""
    def clear(self) -> None:
        """Remove all entries at one moment."""
    @overload
    def pop(self, key: _K) -> _V: ...
    @overload
    def pop(self, key: _K, default: _D) -> _V | _D: ...
    def popitem(self) -> tuple[_K, _V]:
        """Remove and return some pair.

        Raises:
            KeyError: If the registry is empty.
        """
    @overload
    def setdefault(
        self: ShardedRegistry[_K, _D | None], key: _K, default: None = None
    ) -> _D | None: ...
    @overload
    def setdefault(self, key: _K, default: _V) -> _V: ...
    @overload
    def update(self, key: _K, function: Callable[[_V], _V], /, *, default: _V = ...) -> _V: ...
    @overload
    def update(self, other: SupportsKeysAndGetItem[_K, _V], /, **kwargs: _V) -> None: ...
    @overload
    def update(self, other: Iterable[tuple[_K, _V]], /, **kwargs: _V) -> None: ...
    @overload
    def update(self, **kwargs: _V) -> None:
        """Replace one value by what a function makes of it, or store many values.

        With two positional arguments, of which the second is callable, the value of the first is
        replaced: `update("hits", lambda n: n + 1, default=0)`. The function is called again if the
        value was replaced meanwhile, so it should return a new value and change nothing. With other
        arguments it is the `update` of `dict`, which stores pair after pair.

        Returns:
            The new value, or `None` if many were stored.

        Raises:
            KeyError: If the key is missing and there is no default.
            RuntimeError: If the function itself replaces the value again and again.
        """
    def keys(self) -> RegistryKeys[_K]: ...
    def values(self) -> RegistryValues[_V]: ...
    def items(self) -> RegistryItems[_K, _V]: ...
    def copy(self) -> ShardedRegistry[_K, _V]:
        """Make a registry of the same entries, as they were at one moment."""
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_K]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: object, /) -> bool: ...
    def __le__(self, other: object, /) -> bool: ...
    def __gt__(self, other: object, /) -> bool: ...
    def __ge__(self, other: object, /) -> bool: ...
    def __or__(self, other: Mapping[_K, _V], /) -> ShardedRegistry[_K, _V]: ...
    def __ror__(self, other: Mapping[_K, _V], /) -> ShardedRegistry[_K, _V]: ...
    def __ior__(
        self, other: SupportsKeysAndGetItem[_K, _V] | Iterable[tuple[_K, _V]], /
    ) -> Self: ...
    __hash__: ClassVar[None]  # type: ignore[assignment] # as of every mutable mapping

@disjoint_base
class WorkStealingQueue(Generic[_T]):
    """A queue whose owner works at the new end and whose thieves take from the old one.

    Every method is atomic and may be called from any thread. `None` is no item: it is what an empty
    queue gives.
    """

    def __new__(cls) -> Self: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    def push(self, item: _T, /) -> None:
        """Add an item at the new end.

        Raises:
            ValueError: If the item is `None`.
        """
    def push_many(self, items: Iterable[_T]) -> None:
        """Add all items at the new end, the last one newest, none of other threads among them.

        Raises:
            ValueError: If one is `None`; then none is added.
        """
    def pop(self) -> _T | None:
        """Take the newest item, or `None` if there is none."""
    def steal(self) -> _T | None:
        """Take the oldest item, or `None` if there is none."""
    def steal_many(self, n: int) -> list[_T]:
        """Take the `n` oldest items, the oldest first, or as many as there are.

        Raises:
            ValueError: If `n` is negative.
        """
    def clear(self) -> None: ...
    def size(self) -> int:
        """Count the items."""
    def is_empty(self) -> bool: ...
    def __len__(self) -> int: ...

@disjoint_base
class ObjectPool(Generic[_T]):
    """Keep objects that are costly to make, to be used again.

    An object belongs to the caller from `acquire` to `release`, and is reset at its release.
    Objects are told apart by identity: they may be unhashable, and equal to each other. All methods
    may be called from any thread; factory, reset and finalizers run with no lock held and may use
    the pool.

    With `reset="auto"` the pool resets objects itself, without calling Python code where it can:
    arrays and other buffers that can be written to are filled with zeros, lists, sets, deques and
    dicts emptied. A dict that is not empty when the factory makes it is reset member by member
    instead: such members likewise, numbers, strings and `None` to what they were, and keys that
    were added are removed. The reset is also applied to what the factory makes, so that what is
    acquired first is as what is acquired again.

    An acquired object that nobody but the pool refers to any more counts as leaked, and is dropped.

    Args:
        factory: Makes an object.
        max_size: The most objects that wait to be acquired, 100 unless given; those released beyond
            are dropped.
        reset_func: Called with each released object.
        reset: `"auto"`, instead of a function.

    Raises:
        ValueError: If `max_size` is not positive, or both `reset_func` and `reset` are given.
        TypeError: If the functions cannot be called.
    """

    def __new__(
        cls,
        factory: Callable[[], _T],
        max_size: int | None = None,
        reset_func: Callable[[_T], object] | None = None,
        *,
        reset: Literal["auto"] | None = None,
    ) -> Self: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    @property
    def max_size(self) -> int: ...
    def acquire(self) -> _T:
        """Take the object that was released last, or a new one.

        Raises:
            RuntimeError: If the factory returns an object that the pool has already.
            TypeError: If `reset="auto"` cannot reset what the factory makes.
        """
    def release(self, obj: _T) -> None:
        """Reset an object and let it wait to be acquired again.

        If the reset raises, the object is dropped and the exception goes on.

        Raises:
            ValueError: If the object was not acquired from this pool, or was released since.
        """
    def borrow(self) -> Borrow[_T]:
        """Acquire an object for a `with` block, at the end of which it is released."""
    def stats(self) -> PoolStats:
        """Count what the pool holds and did."""
    def get_stats(self) -> dict[str, Any]:
        """Give the same counts as a dict."""

@final
class Borrow(Generic[_T]):
    """An object of a pool for the time of a `with` block."""

    def __enter__(self) -> _T: ...
    def __exit__(self, *_exception: object) -> None: ...

@disjoint_base
class MemoryPool:
    """Hand out blocks of zeros from one piece of memory that is allocated in advance.

    A block is an `ndarray` of shape `(state_size,)` and type `float32`, and belongs to the caller
    from `acquire` to `release`. It must not be written to afterwards. A block that is dropped
    without release stays in use. All methods may be called from any thread.

    Args:
        pool_size: The number of blocks.
        state_size: The number of values of each.

    Raises:
        ValueError: If a size is not positive.
        MissingExtraError: If numpy is not installed.
    """

    def __new__(cls, pool_size: int, state_size: int) -> Self: ...
    @property
    def pool_size(self) -> int: ...
    @property
    def state_size(self) -> int: ...
    def acquire(self) -> NDArray[float32]:
        """Take a block, all zeros.

        Raises:
            PoolExhaustedError: If all blocks are in use.
        """
    def release(self, block: NDArray[float32]) -> None:
        """Give a block back.

        Raises:
            ValueError: If the block is not one of this pool, or was released since.
        """
    def stats(self) -> MemoryPoolStats:
        """Count the blocks."""
    def get_stats(self) -> dict[str, Any]:
        """Give the same counts as a dict."""

@disjoint_base
class CallFuture:
    """The native part of `overdrive.executor.Future`.

    Takes precedence over the methods of `concurrent.futures.Future` and does as they do.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def result(self, timeout: float | None = None, *, help: bool = True) -> Any:
        """Wait for the result; a task of the same executor may run the call itself."""
    def exception(self, timeout: float | None = None, *, help: bool = True) -> BaseException | None:
        """Wait for the exception; a task of the same executor may run the call itself."""
    def done(self) -> bool: ...
    def running(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def cancel(self) -> bool: ...
    def add_done_callback(self, fn: Callable[[Any], object]) -> None: ...
    def set_running_or_notify_cancel(self) -> bool: ...
    def set_result(self, result: Any) -> None: ...
    def set_exception(self, exception: BaseException | None) -> None: ...
    _state: str
    _result: Any
    _exception: BaseException | None
    _condition: Any
    _waiters: list[Any]
    _done_callbacks: list[Callable[[Any], object]]

@final
class CallOptions:
    """How calls are to be run; see `overdrive.executor.WorkStealingExecutor.with_options`."""

    def __new__(
        cls, key: Any, priority: int, deadline: float | None, holds: bool | None
    ) -> CallOptions: ...

@disjoint_base
class CallExecutor:
    """The native part of `overdrive.executor.WorkStealingExecutor`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def _open(
        self,
        *,
        limit: int,
        capacity: int,
        bound: int | None,
        local_queues: bool,
        overflow: str,
        future_type: type[CallFuture],
        spawn: Callable[[CallWorker], None],
        abandon: Callable[[], BaseException],
        start: Callable[[], bool] | None,
    ) -> None: ...
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Schedule `fn(*args, **kwargs)`.

        Returns:
            The future of the call.

        Raises:
            RuntimeError: After `shutdown`, or when no thread could be started.
            concurrent.futures.thread.BrokenThreadPool: If an initializer has failed.
            overdrive.errors.QueueFullError: If the queue is full and the executor rejects calls.
        """
    def _submit_with(
        self,
        options: CallOptions,
        function: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> Future[_T]: ...
    def _submit_many(
        self,
        options: CallOptions | None,
        function: Callable[..., Any],
        arguments: Iterable[Any],
        unary: bool,
    ) -> list[Any]: ...
    def _map(
        self,
        options: CallOptions | None,
        function: Callable[..., _T],
        arguments: Iterable[Any],
        unary: bool,
        timeout: float | None,
    ) -> MapResults[_T]: ...
    def _close(self, cancel: bool) -> None: ...
    def help(self) -> bool:
        """Run one call that no thread has taken yet on the current thread.

        This is for a thread that would otherwise wait for the executor's calls to be done.

        Returns:
            `False` if no call is waiting.

        Raises:
            BaseException: What the call raised if it is no `Exception`, for example a
                `KeyboardInterrupt`, which is meant for this thread. Its future has it too.
        """
    def _set_limit(self, limit: int) -> None: ...
    def _limit_holders(self, limit: int) -> None: ...
    def _set_holding(self, tags: list[int]) -> None: ...
    def _set_blocked(self, blocked: bool) -> bool: ...
    def _queued(self) -> int: ...
    def _is_closed(self) -> bool: ...
    def _is_broken(self) -> bool: ...
    def _stats(self) -> dict[str, Any]: ...
    def _lane_stats(self) -> list[tuple[Any, dict[str, Any]]]: ...
    def _sampler(self) -> CallSampler: ...

@final
class CallSample:
    """What an executor was doing at one moment.

    Attributes:
        time: When that was, in seconds on a monotonic clock.
        knock_wait: For how long the thread that took the sample waited for the interpreter.
        submitted: Calls submitted so far.
        started: Calls begun so far.
        queued: Calls that wait.
        run: Seconds that calls have run so far, those that still run included.
        running: The tags of the calls that ran when the thread began to wait.
    """

    @property
    def time(self) -> float: ...
    @property
    def knock_wait(self) -> float: ...
    @property
    def submitted(self) -> int: ...
    @property
    def started(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def run(self) -> float: ...
    @property
    def running(self) -> list[int]: ...

@final
class CallSampler:
    """Takes samples of an executor for a controller, without keeping the executor alive."""

    def sample(self, interval: float | None) -> CallSample | None:
        """Sleep for so long, or until a call is submitted, and take a sample.

        Returns:
            The sample; `None` when the executor was shut down.
        """
    def durations(self) -> list[HistogramSnapshot]:
        """Return how long calls waited and ran, and threads waited for the interpreter.

        Also when the executor is gone.
        """

@final
class CallWorker:
    """A thread's place in a `CallExecutor`."""

    def run(self) -> None:
        """Run calls on this thread until the executor is shut down and its queue empty."""

@final
class MapResults(Generic[_T]):
    """The results of a map, in order."""

    def __iter__(self) -> MapResults[_T]: ...
    def __next__(self) -> _T: ...
    def cancel(self) -> None:
        """Let no further call begin."""

def call_tag(function: Any) -> int:
    """Say what a function is known as in the samples."""

def refuse_calls() -> None:
    """Let no executor take calls any more, because the interpreter exits."""

def thread_seconds(numbers: list[int]) -> list[float]:
    """Say for how long threads of this process have computed or been ready to.

    Args:
        numbers: Their numbers of the operating system.

    Returns:
        Seconds, in the same order; 0.0 for a thread that has ended, and where that is not known.
    """

@final
class Counter:
    """A number that only grows, of which each thread adds to its own part.

    Safe for threads. After `os.fork()` the counters of `Metrics` begin again at zero in the child.
    """

    def __new__(cls) -> Self: ...
    def inc(self, amount: float = 1.0, /) -> None:
        """Add to it.

        Raises:
            ValueError: If the amount is negative or not a number.
        """
    @property
    def value(self) -> float:
        """What all threads have added."""
    def _reset(self) -> None: ...

@final
class Gauge:
    """A number that goes up and down. Safe for threads."""

    def __new__(cls) -> Self: ...
    def set(self, value: float, /) -> None:
        """Replace the number."""
    def inc(self, amount: float = 1.0, /) -> None:
        """Add to the number, atomically."""
    def dec(self, amount: float = 1.0, /) -> None:
        """Take from the number, atomically."""
    @property
    def value(self) -> float:
        """The number."""
    def _reset(self) -> None: ...

@final
class Histogram:
    """How often which values were recorded, each known to within a 64th of itself.

    Buckets are log-linear, 32 to a doubling, from a nanosecond to a terabyte if values are seconds
    or bytes; all histograms have the same ones. Values that are not positive are in the lowest.
    Safe for threads.
    """

    def __new__(cls, kind: str = "", /, *, fed: bool = False) -> Self:
        """Make an empty histogram.

        Args:
            kind: What is recorded, if a part of this package may do so too: `api`, `database` or
                `agents`.
            fed: Whether it is such a part that records here.
        """
    def record(self, value: float, /, *, waited: float = 0.0) -> None:
        """Record a value. What is not finite is counted as rejected, and nothing else.

        Args:
            value: The value; durations are in seconds.
            waited: How much of it was spent in a queue.
        """
    def time(self) -> Timing:
        """Return a context that records how many seconds its block took."""
    def open(self) -> Timing:
        """Begin to time here, so that `attribute_seconds` finds it until `leave` is called."""
    def note(self, value: float, times: int = 1, failures: int = 0, /) -> None:
        """Record what a part of this package did, unless whoever asked for it times that.

        Args:
            value: Seconds that it took each time.
            times: How many times.
            failures: How many of those failed.
        """
    def snapshot(self) -> HistogramSnapshot:
        """Add up what all threads have recorded."""
    @property
    def errors(self) -> float:
        """How many timed blocks ended with an exception."""
    def _reset(self) -> None: ...

@final
class Timing:
    """The context that `Histogram.time` returns, for one block at a time."""

    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: object, _value: object, _traceback: object) -> None: ...
    def stop(self, failed: bool = False, /) -> None:
        """Record now how long it took; the end of the block records nothing then."""
    def leave(self) -> None:
        """Be found no longer by `attribute_seconds`."""
    @property
    def seconds(self) -> float:
        """How long the block took, once it has ended."""

@final
class HistogramSnapshot:
    """A histogram at one moment. `+` merges two, `-` takes away an earlier one.

    A difference keeps the extremes of the whole.
    """

    def __new__(cls) -> Self: ...
    @property
    def count(self) -> int:
        """How many values were recorded."""
    @property
    def sum(self) -> float:
        """What they add up to."""
    @property
    def minimum(self) -> float | None:
        """The least; `None` if there is nothing."""
    @property
    def maximum(self) -> float | None:
        """The greatest; `None` if there is nothing."""
    @property
    def rejected(self) -> int:
        """How many values were not finite."""
    def quantile(self, share: float) -> float | None:
        """Return the value at or below which a share of all are, to within a 64th of it."""
    def at_most(self, bound: float) -> int:
        """Count the values up to a bound; exact if it is a power of two."""
    def buckets(self) -> list[tuple[float, int]]:
        """Return upper bound and count of each bucket that is not empty, lowest first."""
    def tail(self, share: float) -> tuple[int, float, float, float] | None:
        """Return what the values from the doubling of a quantile upwards consist of.

        Returns:
            Their count, their mean, and of that mean the part that garbage collections took and
            the part that was waiting; `None` if there is nothing.
        """
    def parts(self, share: float) -> tuple[int, float, list[float]] | None:
        """Return what the values from the doubling of a quantile upwards consist of.

        Returns:
            Their count, their mean, and the means of their parts: collections, queues, database,
            waiting for the interpreter; `None` if there is nothing.
        """
    def __add__(self, value: HistogramSnapshot, /) -> HistogramSnapshot: ...
    def __radd__(self, value: HistogramSnapshot, /) -> HistogramSnapshot: ...
    def __sub__(self, value: HistogramSnapshot, /) -> HistogramSnapshot: ...
    def __rsub__(self, value: HistogramSnapshot, /) -> HistogramSnapshot: ...

@final
class GcMeter:
    """A callback for `gc.callbacks` that allocates nothing and takes no lock."""

    def __new__(cls) -> Self: ...
    def __call__(self, phase: str, info: dict[str, int]) -> None: ...
    def pauses(self) -> list[HistogramSnapshot]:
        """Return the durations of collections, by generation."""
    @property
    def collected(self) -> float:
        """How many objects were freed."""
    @property
    def uncollectable(self) -> float:
        """How many objects could not be freed."""
    def _reset(self) -> None: ...

@final
class GilSampler:
    """A thread that asks for the interpreter at irregular intervals until stopped.

    Raises:
        ValueError: If the interval is not between 0.0001 and 3600 seconds.
    """

    def __new__(cls, interval: float) -> Self: ...
    def stop(self) -> None:
        """End the thread, and return when it has ended. More calls do nothing."""
    def read(self) -> tuple[int, float, float, float, float | None]:
        """Return what was seen so far; every figure only grows.

        Returns:
            How often it asked; the seconds covered; the seconds of those during which another
            thread held the interpreter; the seconds it waited itself; and the processor time it
            took, if the system tells.
        """

def attribute_seconds(
    *, queue: float = 0.0, database: float = 0.0, interpreter: float = 0.0
) -> None:
    """Say what the time went into, to everything that is being timed around here."""

def current_timing() -> Timing | None:
    """Return the innermost timing that wants to know that."""

def tally(
    objects: list[Any], start: int, stop: int, sized: tuple[type, ...], least: int
) -> tuple[list[tuple[type, int]], list[tuple[Any, int]]]:
    """Count the objects of a part of a list by type.

    Args:
        objects: The list.
        start: Where the part begins.
        stop: Where it ends.
        sized: Types that have a length that is asked for.
        least: The least length that is told.

    Returns:
        Each type with its count, and each large object with its length.
    """
