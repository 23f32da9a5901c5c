"""The decorator `cached`, and what it makes of functions, methods and coroutine functions."""

import functools
import inspect
import logging
import math
import os
import threading
import time
import types
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeVar, cast

from overdrive import _core
from overdrive.caches._classes import Cache, LRUCache, TTLCache
from overdrive.caches._flights import ABSENT, Flights, Terms
from overdrive.executor import WorkStealingExecutor
from overdrive.registry import ShardedRegistry

__all__ = ["Box", "CacheInfo", "CachedFunction", "Decorated", "Options", "cached"]

F = TypeVar("F", bound=Callable[..., Any])
Tags = Iterable[str] | Callable[..., Iterable[str]] | None

_log = logging.getLogger(__name__)


class CacheInfo(NamedTuple):
    """Counts in the form that `functools.lru_cache` gives them."""

    hits: int
    misses: int
    maxsize: float | None
    currsize: float


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; `maxsize` and `ttl` make a cache, unless one is given."""

    cache: Cache[Any, Any] | None
    maxsize: float
    ttl: Any
    key: Callable[..., Hashable] | None
    typed: bool
    tags: Tags
    refresh_after: float | None
    errors: tuple[type[Exception], ...]
    method: bool = False

    def make_cache(self) -> Cache[Any, Any]:
        if self.cache is not None:
            return self.cache
        if self.ttl is None:
            return LRUCache(self.maxsize)
        return TTLCache(self.maxsize, self.ttl)

    def terms(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Terms:
        tags = self.tags(*args, **kwargs) if callable(self.tags) else self.tags
        return Terms(tags=tags)

    @property
    def is_boxed(self) -> bool:
        return self.refresh_after is not None or bool(self.errors)

    def box(self, value: Any = None, error: Exception | None = None) -> "Box":
        wait = math.inf if self.refresh_after is None else self.refresh_after
        return Box(value, error, time.monotonic() + wait)


def cached(
    cache: Cache[Any, Any] | float | Callable[..., Any] | None = ABSENT,
    key: Callable[..., Hashable] | None = None,
    *,
    maxsize: float | None = 128,
    ttl: Any = None,
    typed: bool = False,
    tags: Tags = None,
    refresh_after: float | None = None,
    cache_exceptions: type[Exception] | tuple[type[Exception], ...] = (),
    lock: object = None,  # noqa: ARG001 - for code written for another library
    info: object = True,  # noqa: ARG001 - for code written for another library
) -> Any:
    """Keep the results of a function, a method or a coroutine function.

    However many callers ask for the same result at the same time, the function runs once; the
    others wait. For coroutine functions, no caller's cancellation reaches the others, only the last
    one's ends the run. A result that was invalidated while it was being made is given to those who
    wait for it and not stored. A function that needs its own result, with the same arguments,
    raises `RuntimeError`.

    A method has a cache for each instance, which goes when the instance goes; a result that refers
    to its instance keeps it until the result is forgotten. Instances must allow weak references;
    they need not be hashable.

    Results are shared, not copied: do not change them. The decorated function has `cache`,
    `cache_info()`, `cache_clear()`, `cache_key(*args, **kwargs)`, `invalidate(*args, **kwargs)` and
    `__wrapped__`. It may be called from any thread, and coroutine functions from any event loop;
    runs are shared within one loop.

    Args:
        cache: A cache, or the size of one to be made, or `None` for one without bound. A cache that
            is given is not for methods, and its keys are tuples of arguments.
        key: Called with the arguments, returns the key of the result; by default arguments that are
            equal have the same result (numbers of unusual types may not), and arguments given by
            name are told apart from those given by position.
        maxsize: Another way to give the size.
        ttl: How long results live, in seconds or as a `timedelta`.
        typed: Tell arguments of different types apart, such as 1 and 1.0.
        tags: Names by which `cache.invalidate_tag` removes results, or a function that returns them
            for the arguments.
        refresh_after: After so many seconds a result is still returned, and made anew in the
            background.
        cache_exceptions: Exceptions that count as results: they are stored, and raised again.
        lock: Ignored; no lock is needed.
        info: Ignored; there is always `cache_info`.

    Raises:
        TypeError: If what is decorated is a generator function or no function, or a cache that is
            given is used for a method.
        ValueError: If `refresh_after` is not positive, or not less than `ttl`.
    """
    if callable(cache) and not isinstance(cache, Cache):
        # Used as `@cached`, without parentheses.
        return cached()(cache)
    given = cache if isinstance(cache, Cache) else None
    size = maxsize if cache is ABSENT else cache
    if given is not None and ttl is not None:
        raise TypeError(f"a cache that is given has its own time to live, got ttl={ttl!r}")
    if given is None and not (size is None or isinstance(size, int | float)):
        raise TypeError(f"cache must be a cache of overdrive, a size or None, got {cache!r}")
    if refresh_after is not None and not 0 < refresh_after < _seconds(ttl):
        raise ValueError(f"refresh_after must be positive and less than ttl, got {refresh_after!r}")
    errors = cache_exceptions if isinstance(cache_exceptions, tuple) else (cache_exceptions,)
    options = Options(
        cache=given,
        maxsize=math.inf if size is None else size,  # type: ignore[arg-type]
        ttl=ttl,
        key=key,
        typed=typed,
        tags=tags,
        refresh_after=refresh_after,
        errors=errors,
    )
    return functools.partial(_decorate, options)


def _seconds(ttl: Any) -> float:
    if ttl is None:
        return math.inf
    return float(ttl.total_seconds()) if hasattr(ttl, "total_seconds") else float(ttl)


def _decorate(options: Options, function: Callable[..., Any]) -> Any:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"a generator can be used only once and is not cached, got {function!r}")
    if not callable(function):
        raise TypeError(f"only functions are cached, got {function!r}")
    if inspect.iscoroutinefunction(function):
        from overdrive.caches import _coroutines  # noqa: PLC0415 - loads asyncio

        return _coroutines.CachedCoroutineFunction(function, options)
    if options.is_boxed:
        return BoxedFunction(function, options)
    return CachedFunction(function, options)


class Box:
    """A result with what else is known of it, where that is asked for."""

    __slots__ = ("_claim", "_process", "due", "error", "value")

    def __init__(self, value: Any, error: Exception | None, due: float) -> None:
        self.value = value
        self.error = error
        self.due = due
        """When it is to be made anew, by the monotonic clock."""
        self._process = os.getpid()
        self._claim = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Box, (self.value, self.error, self.due))

    def claim(self) -> bool:
        """Whether the caller is the one who makes it anew."""
        if time.monotonic() < self.due:
            return False
        if self._process != os.getpid():
            # Who claimed it before a fork does not make it here.
            self._process = os.getpid()
            self._claim = threading.Lock()
        if not self._claim.acquire(blocking=False):
            return False
        # It may have been postponed between the two questions.
        if time.monotonic() >= self.due:
            return True
        self._claim.release()
        return False

    def postpone(self, seconds: float) -> None:
        """Keep it, and have it made anew later."""
        self.due = time.monotonic() + seconds
        self._claim.release()

    def open(self) -> Any:
        """Return or raise what the function did."""
        if self.error is not None:
            # Or each raise would add to the traceback, and keep the frames of all callers.
            raise self.error.with_traceback(None)
        return self.value


class _Loads:
    """Makes the results of a function, and has them kept."""

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        self.function = function
        self.options = options
        self.cache = options.make_cache()
        self._flights = Flights()

    def load(self, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        kwargs = kwargs or {}
        make = functools.partial(self._make, args, kwargs)
        return self._flights.load(self.cache, key, make, self.options.terms(args, kwargs))

    def _make(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.options.is_boxed:
            return self.function(*args, **kwargs)
        try:
            return self.options.box(self.function(*args, **kwargs))
        except self.options.errors as error:
            return self.options.box(error=error)

    def refresh(
        self, box: Box, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Make a result anew, in the background."""
        cache = self.cache
        ticket = cache._begin_load()
        try:
            terms = self.options.terms(args, kwargs)
            fresh = self._make(args, kwargs)
            cache._store_loaded(key, fresh, ticket, terms.ttl, terms.tags)
        except Exception:  # noqa: BLE001 - nobody waits for it
            box.postpone(self.options.refresh_after or 0.0)
            _log.exception("could not refresh the result of %r, the old one stays", self.function)
        finally:
            cache._end_load()


class Decorated:
    """What cached functions have besides being called."""

    __name__: str
    __qualname__: str
    cache: Any
    cache_key: Any
    _function: Callable[..., Any]
    _options: Options
    _instances: "_Instances | None"
    _is_method: bool = False

    def _begin(self, function: Callable[..., Any], options: Options) -> None:
        self._function = function
        self._options = options
        self._instances = None
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<cached {self._function!r}>"

    def cache_info(self) -> CacheInfo:
        """Count hits and misses; for a method of a class, those of all living instances."""
        caches = self._caches()
        stats = [cache.stats() for cache in caches]
        bound = self.cache.maxsize
        return CacheInfo(
            hits=sum(s.hits for s in stats),
            misses=sum(s.misses for s in stats),
            maxsize=None if bound == math.inf else bound,
            currsize=sum(cache.currsize for cache in caches),
        )

    def cache_clear(self) -> None:
        """Forget all results; for a method of a class, those of all living instances."""
        for cache in self._caches():
            cache.clear()

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Forget the result for these arguments; `False` if there is none.

        A result that is being made at the time is not stored.
        """
        return self.cache.pop(self.cache_key(*args, **kwargs), ABSENT) is not ABSENT

    def _caches(self) -> list[Cache[Any, Any]]:
        return [self.cache] if self._instances is None else self._instances.caches()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the method of an instance, which has a cache of its own."""
        if instance is None:
            return _Unbound(self) if self._is_method else self
        if self._options.cache is not None:
            raise TypeError(
                f"each instance has a cache for its method {self.__name__}: "
                "give cached a size instead of a cache"
            )
        if self._instances is None:
            self._instances = _Instances()
        function = self._instances.get(instance, self._make_method)
        return types.MethodType(cast("Callable[..., Any]", function), instance)

    def __set_name__(self, owner: type, name: str) -> None:
        self._is_method = True

    def _make_method(self) -> "Decorated":
        kind: Any = type(self)
        function: Decorated = kind(self._function, replace(self._options, method=True))
        return function

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    def __reduce__(self) -> str:
        return self.__qualname__


class _Unbound:
    """A method as an attribute of its class, called with an instance."""

    def __init__(self, function: Decorated) -> None:
        self._function = function

    def __call__(self, instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._function.__get__(instance)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return repr(self._function)


class _Instances:
    """What a method keeps for each instance, for as long as the instance lives."""

    def __init__(self) -> None:
        # One shard: there may be many of these.
        functions: ShardedRegistry[int, tuple[weakref.ref[Any], Decorated]] = ShardedRegistry(1)
        self._functions = functions

    def get(self, instance: Any, make: Callable[[], Decorated]) -> Decorated:
        """Return the function of an instance."""
        name = id(instance)
        while True:
            known = self._functions.get(name)
            if known is not None:
                if known[0]() is instance:
                    return known[1]
                # One that had the same address; its reference is about to say so.
                self._forget(name, known[0])
            self._functions.register(name, (self._watch(instance, name), make()))

    def _forget(self, name: int, reference: weakref.ref[Any]) -> None:
        self._functions.pop_if(name, lambda known: known[0] is reference)

    def caches(self) -> list[Cache[Any, Any]]:
        """Return the caches of the living instances."""
        return [function.cache for _, function in self._functions.get_all().values()]

    def _watch(self, instance: Any, name: int) -> weakref.ref[Any]:
        try:
            return weakref.ref(instance, functools.partial(self._forget, name))
        except TypeError:
            raise TypeError(
                f"a cached method needs instances that allow weak references, and "
                f"{type(instance).__name__} does not: add '__weakref__' to its __slots__"
            ) from None


class CachedFunction(_core.CachedCall, Decorated):
    """A function whose results are kept. Made by `cached`."""

    _loads: _Loads

    def __new__(cls, function: Callable[..., Any], options: Options) -> Self:
        """Make the native part."""
        loads = _Loads(function, options)
        self = super().__new__(
            cls,
            loads.cache,
            loads.load,
            key=options.key,
            typed=options.typed,
            bare=options.cache is None,
            method=options.method,
        )
        self._loads = loads
        return self

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        self._begin(function, options)


class BoxedFunction(CachedFunction):
    """One whose results are in boxes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        box: Box = super().__call__(*args, **kwargs)
        if box.claim():
            self._start_refresh(box, args, kwargs)
        return box.open()

    def _start_refresh(self, box: Box, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        key = self.cache_key(*(args[1:] if self._options.method else args), **kwargs)
        try:
            _background().submit(self._loads.refresh, box, key, args, kwargs)
        except RuntimeError:
            # The interpreter is about to exit.
            box.postpone(0.0)


@functools.cache
def _background() -> WorkStealingExecutor:
    """Return the threads that refresh results, started when the first one is due."""
    return WorkStealingExecutor(4, "overdrive-refresh")
