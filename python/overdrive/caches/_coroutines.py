"""Coroutine functions whose results are kept; see `_flights` for how they wait for each other."""

import asyncio
import functools
import inspect
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from overdrive import _core
from overdrive.caches._cached import Box, Decorated, Options
from overdrive.caches._flights import ABSENT, Flight, Terms, find

__all__ = ["CachedCoroutineFunction"]

_log = logging.getLogger(__name__)


class _TaskFlight(Flight):
    """The making of one value by a task of its own."""

    __slots__ = ("_landed", "_table", "_task", "_waiters")

    def begin(self, table: "_Table", make: Callable[[], Awaitable[Any]]) -> None:
        """Start the task, which no waiter's cancellation reaches."""
        self._table = table
        self._waiters = 0
        self._landed = False
        try:
            table[self.key] = self
            self._task = asyncio.get_running_loop().create_task(self._make(make))
        except BaseException:
            self.end()
            raise
        # Not at the end of the coroutine, which a cancellation may keep from ever beginning.
        self._task.add_done_callback(self._land)

    def is_joinable(self) -> bool:
        """Whether it is on its way to a value that is still wanted."""
        return not self._landed and self.is_current()

    async def _make(self, make: Callable[[], Awaitable[Any]]) -> Any:
        with self.entered():
            value = find(self.cache, self.key)
            if value is ABSENT:
                value = await make()
                self.store(value)
        return value

    async def join(self) -> Any:
        """Wait for the value; when nobody does any more, the task is cancelled."""
        with self.awaited():
            self._waiters += 1
            try:
                return await asyncio.shield(self._task)
            finally:
                self._waiters -= 1
                if self._waiters == 0 and not self._task.done():
                    # Nobody may join a task that is being cancelled.
                    self._leave()
                    self._task.cancel()

    def _land(self, _: asyncio.Task[Any]) -> None:
        self._landed = True
        self.end()
        self._leave()

    def _leave(self) -> None:
        if self._table.get(self.key) is self:
            del self._table[self.key]


_Table = dict[Hashable, _TaskFlight]


class _TaskFlights:
    """The loads of tasks, apart for each event loop."""

    def __init__(self) -> None:
        self._tables: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Table] = (
            weakref.WeakKeyDictionary()
        )

    async def load(
        self, cache: Any, key: Hashable, make: Callable[[], Awaitable[Any]], terms: Terms
    ) -> Any:
        """Have a value made and stored, or wait for who does."""
        table = self._of_this_loop()
        flight = table.get(key)
        if flight is None or not flight.is_joinable():
            flight = _TaskFlight(cache, key, terms)
            flight.begin(table, make)
        return await flight.join()

    def _of_this_loop(self) -> _Table:
        # Without a lock: this is one operation on a dictionary.
        return self._tables.setdefault(asyncio.get_running_loop(), {})


class _Loads:
    """Makes the results of a coroutine function, and has them kept."""

    def __init__(self, function: Callable[..., Awaitable[Any]], options: Options) -> None:
        self.function = function
        self.options = options
        self.cache = options.make_cache()
        self._flights = _TaskFlights()
        self._refreshing: set[asyncio.Task[None]] = set()

    def load(self, missing: "_Missing") -> Awaitable[Any]:
        make = functools.partial(self._make, missing.args, missing.kwargs)
        terms = self.options.terms(missing.args, missing.kwargs)
        return self._flights.load(self.cache, missing.key, make, terms)

    async def _make(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.options.is_boxed:
            return await self.function(*args, **kwargs)
        try:
            return self.options.box(await self.function(*args, **kwargs))
        except self.options.errors as error:
            return self.options.box(error=error)

    def start_refresh(
        self, box: Box, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._refresh(box, key, args, kwargs))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _refresh(
        self, box: Box, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        cache = self.cache
        ticket = cache._begin_load()
        try:
            terms = self.options.terms(args, kwargs)
            fresh = await self._make(args, kwargs)
            cache._store_loaded(key, fresh, ticket, terms.ttl, terms.tags)
        except Exception:  # noqa: BLE001 - nobody waits for it
            box.postpone(self.options.refresh_after or 0.0)
            _log.exception("could not refresh the result of %r, the old one stays", self.function)
        except BaseException:
            # The task was cancelled, perhaps with its loop; somebody else may try.
            box.postpone(0.0)
            raise
        finally:
            cache._end_load()


class _Missing:
    """What a look-up returns that found nothing."""

    __slots__ = ("args", "key", "kwargs")

    def __init__(self, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        self.key = key
        self.args = args
        self.kwargs = kwargs or {}


class CachedCoroutineFunction(Decorated):
    """A coroutine function whose results are kept. Made by `cached`."""

    def __init__(self, function: Callable[..., Awaitable[Any]], options: Options) -> None:
        self._loads = loads = _Loads(function, options)
        self._find = _core.CachedCall(
            loads.cache,
            _Missing,
            key=options.key,
            typed=options.typed,
            bare=options.cache is None,
            method=options.method,
        )
        self.cache = loads.cache
        self.cache_key = self._find.cache_key
        self._begin(function, options)
        _mark_as_coroutine_function(self)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = self._find(*args, **kwargs)
        if type(found) is _Missing:
            found = await self._loads.load(found)
        if not self._options.is_boxed:
            return found
        if found.claim():
            key = self.cache_key(*(args[1:] if self._options.method else args), **kwargs)
            self._loads.start_refresh(found, key, args, kwargs)
        return found.open()


def _mark_as_coroutine_function(function: Any) -> None:
    """Let `iscoroutinefunction` know."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
