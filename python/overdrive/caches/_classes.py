"""The caches as mappings."""

import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from collections.abc import ItemsView as _ItemsView
from collections.abc import ValuesView as _ValuesView
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal, Self, TypeVar

from overdrive import _core
from overdrive.caches._flights import ABSENT, Flights, Terms

__all__ = ["Cache", "CacheStats", "LRUCache", "Listener", "TTLCache"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Reason = Literal["evicted", "expired", "replaced", "removed"]
Listener = Callable[[Any, Any, Reason], object]
"""Called with the key, the value and the reason when a value has left a cache."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache has done since it was made.

    Attributes:
        hits: Look-ups that found a value.
        misses: Look-ups that found none, or an expired one.
        evictions: Entries that left to make room.
        expirations: Expired entries that were removed.
        size: Entries at present, those included that have expired and are not removed yet.
    """

    hits: int
    misses: int
    evictions: int
    expirations: int
    size: int

    @property
    def hit_rate(self) -> float:
        """Hits by look-ups, 0 to 1."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


# Methods of subclasses that the native part must call; keep in step with `caches.rs`.
_HOOKS = (
    *("__getitem__", "__setitem__", "__delitem__", "__contains__"),
    *("__missing__", "popitem", "getsizeof", "expire"),
)


class Cache(_core.Cache[K, V], MutableMapping[K, V]):
    """What `LRUCache` and `TTLCache` have in common.

    A `MutableMapping` of bounded size that evicts the least recently used entry. Every single
    operation is atomic and may be called from any thread; `len`, `repr`, `popitem` and storing also
    remove what has expired. Iteration goes over the keys in the order of insertion, as they were
    when it began, without those that are gone when their turn comes.

    A subclass may override `__getitem__`, `__setitem__`, `__delitem__`, `__contains__`,
    `__missing__`, `popitem`, `getsizeof` and `expire`; its methods are then used by the others, as
    in `cachetools`, and operations made of several of them are no longer atomic.
    """

    _hooks: ClassVar[int] = 0
    _flights: Flights

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note which methods the class overrides."""
        super().__init_subclass__(**kwargs)
        own = (getattr(cls, name) is not getattr(Cache, name, None) for name in _HOOKS)
        cls._hooks = sum(1 << i for i, overridden in enumerate(own) if overridden)

    def _begin(
        self,
        maxsize: float,
        getsizeof: Callable[[V], float] | None,
        listener: Listener | None,
        **times: Any,
    ) -> None:
        sized = getsizeof is not None or self.getsizeof is not Cache.getsizeof
        self._set_up(maxsize, hooks=self._hooks, sized=sized, listener=listener, **times)
        if getsizeof is not None:
            self.getsizeof = getsizeof  # type: ignore[assignment,method-assign]
        self._flights = Flights()

    def __missing__(self, key: K) -> V:
        """Return, or raise, what a look-up of an absent key should."""
        raise KeyError(key)

    @staticmethod
    def getsizeof(value: Any) -> float:  # noqa: ARG004 - to be overridden
        """Return what a value counts for against `maxsize`; 1 unless overridden."""
        return 1

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys that were there at the beginning and still are."""
        return (key for key in self._keys() if key in self)

    def items(self) -> "_Items[K, V]":
        """Return a view of the pairs, which uses each entry it passes."""
        return _Items(self)

    def values(self) -> "_Values[V]":
        """Return a view of the values, which uses each entry it passes."""
        return _Values(self)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        size = self.currsize
        entries = dict(self._entries())
        return f"{type(self).__name__}({entries!r}, maxsize={self.maxsize!r}, currsize={size!r})"

    def get_or_create(
        self,
        key: K,
        factory: Callable[[], V],
        *,
        ttl: float | timedelta | None = None,
        tags: Iterable[str] | None = None,
    ) -> V:
        """Return the value of a key, and have it made if there is none.

        However many threads ask at the same time, one of them runs the factory, outside any lock,
        and the others wait for it. What the factory raises is raised by all of them and not stored.
        A value is returned but not stored if it is too large, or if its key or one of its tags was
        set, removed or invalidated while it was being made; who asks after such a change does not
        wait for it.

        Args:
            key: The key.
            factory: Makes the value.
            ttl: Seconds (or a `timedelta`) to live; by default as long as the cache says.
            tags: Names by which `invalidate_tag` removes the entry.

        Raises:
            RuntimeError: If the factory asks for its own key.
            Exception: What the factory raises.
        """
        value: Any = self.get(key, ABSENT)
        if value is ABSENT:
            value = self._flights.load(self, key, factory, Terms(ttl, tags))
        return value  # type: ignore[no-any-return]

    def stats(self) -> CacheStats:
        """Count what the cache has done."""
        return CacheStats(*self._stats())

    def __copy__(self) -> Self:
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        timer = self._timer
        copy._copy_from(self, None if timer is None else timer.__copy__())
        copy._flights = Flights()
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {k: v for k, v in self.__dict__.items() if k != "_flights"}
        options = {
            "maxsize": self.maxsize,
            "timer": self._timer,
            "ttl": self._ttl,
            "listener": self._listener,
        }
        return (_new, (type(self),), (attributes, options, _core._cache_state(self)))

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any], Any]) -> None:
        attributes, options, contents = state
        self.__dict__.update(attributes)
        self._begin(getsizeof=None, **options)
        _core._restore_cache(self, contents)
        self.expire()


class LRUCache(Cache[K, V]):
    """A cache that evicts the least recently used entry.

    Args:
        maxsize: What the sizes of all values may add up to; `math.inf` for no bound.
        getsizeof: The size of a value; by default each counts 1.
        listener: Called, outside any lock, with each key, value and reason (`"evicted"`,
            `"expired"`, `"replaced"` or `"removed"`) when a value has left. What it raises goes to
            `sys.unraisablehook`.

    Raises:
        ValueError: If `maxsize` is negative.
    """

    def __init__(
        self,
        maxsize: float,
        getsizeof: Callable[[V], float] | None = None,
        *,
        listener: Listener | None = None,
    ) -> None:
        self._begin(maxsize, getsizeof, listener)


class TTLCache(Cache[K, V]):
    """A cache whose entries expire a time after they were set.

    Of those that have not expired, it evicts the least recently used entry. Expired entries are not
    seen; they are removed by the next operation that stores, counts or evicts.

    Args:
        maxsize: What the sizes of all values may add up to; `math.inf` for no bound.
        ttl: How long an entry lives, in the unit of the timer: seconds, or a `timedelta` for a
            timer that returns `datetime`.
        timer: Returns the present time.
        getsizeof: The size of a value; by default each counts 1.
        listener: As for `LRUCache`.

    Raises:
        TypeError: If `ttl` is neither a number nor a `timedelta`.
        ValueError: If `maxsize` is negative.
    """

    def __init__(
        self,
        maxsize: float,
        ttl: Any,
        timer: Callable[[], Any] = time.monotonic,
        getsizeof: Callable[[V], float] | None = None,
        *,
        listener: Listener | None = None,
    ) -> None:
        if ttl is None:
            raise TypeError("ttl must be a number or a timedelta, got None")
        self._begin(maxsize, getsizeof, listener, ttl=ttl, timer=_core.Timer(timer))

    @property
    def timer(self) -> _core.Timer:
        """The timer; as a context manager it makes time stand still for the current thread."""
        timer = self._timer
        assert timer is not None  # noqa: S101 - given by the constructor
        return timer

    @property
    def ttl(self) -> Any:
        """How long an entry lives."""
        return self._ttl


class _Items(_ItemsView[K, V]):
    """Pairs; keys that go while they are iterated over are left out."""

    _mapping: Cache[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for key in self._mapping:
            value = self._mapping.get(key, ABSENT)
            if value is not ABSENT:
                yield key, value


class _Values(_ValuesView[V]):
    """Values; keys that go while they are iterated over are left out."""

    _mapping: Cache[Any, V]

    def __iter__(self) -> Iterator[V]:
        for _, value in _Items(self._mapping):
            yield value


def _new(cls: type[Cache[K, V]]) -> Cache[K, V]:
    """Make the cache that a pickle is then loaded into."""
    return cls.__new__(cls)
