"""Loads under way: who comes while a value is being made waits for it instead of making another.

A *flight* is the making of one key's value. It is registered before the value is asked for and
removed after the value is stored, so between a look-up that fails and a registration that succeeds
another flight may have come and gone: the leader therefore looks once more before it begins.

The cache gives each flight a ticket. A change of the key (or of one of its tags, or of everything)
makes the ticket void: the value is then not stored, and who comes later begins a flight of its own,
which takes the place of the old one. Whoever had already joined gets the value that was asked for
before the change.

A flight whose making waits for another flight is *blocked* by it. Flights that block each other in
a circle would wait for ever, the shortest circle being a function that needs its own result. Each
flight therefore runs with its name in a context variable, which tasks inherit; before a flight
waits for another it is noted as blocked, unless that closes a circle, which raises.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from overdrive.registry import ShardedRegistry

if TYPE_CHECKING:
    from overdrive.caches._classes import Cache

__all__ = ["ABSENT", "Flight", "Flights", "Terms", "find"]

ABSENT: Any = object()
"""Stands for no value."""

_inside: ContextVar[tuple["Flight", ...]] = ContextVar("overdrive_flights", default=())

# Guards `blockers` of all flights; nothing of the user's runs while it is held.
_circles = threading.Lock()


class Terms:
    """How a loaded value is stored."""

    __slots__ = ("tags", "ttl")

    def __init__(
        self, ttl: float | timedelta | None = None, tags: Iterable[str] | None = None
    ) -> None:
        self.ttl = ttl
        self.tags = tags


def find(cache: "Cache[Any, Any]", key: Hashable) -> Any:
    """Look a key up again; an absent one is not counted twice."""
    return cache.get(key, ABSENT) if key in cache else ABSENT


class Flight:
    """The making of one value."""

    __slots__ = ("blockers", "cache", "key", "ticket")

    def __init__(self, cache: "Cache[Any, Any]", key: Hashable) -> None:
        self.cache = cache
        self.key = key
        self.ticket = cache._begin_load()
        self.blockers: list[Flight] = []

    def is_current(self) -> bool:
        """Whether nothing has changed since it began."""
        return self.cache._is_current(self.key, self.ticket)

    def store(self, value: Any, terms: Terms) -> None:
        """Store the value that was made, unless something has changed."""
        self.cache._store_loaded(self.key, value, self.ticket, terms.ttl, terms.tags)

    def end(self) -> None:
        """Give the ticket back."""
        self.cache._end_load()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make what happens in the block part of the flight."""
        token = _inside.set((*_inside.get(), self))
        try:
            yield
        finally:
            _inside.reset(token)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Note, for the block, that this flight blocks the one that the caller is part of.

        Raises:
            RuntimeError: If the caller would wait for itself.
        """
        chain = _inside.get()
        if not chain:
            yield
            return
        waiting = chain[-1]
        with _circles:
            if self._leads_to(set(chain)):
                raise RuntimeError(
                    f"the value of {waiting.key!r} needs the value of {self.key!r}, "
                    "which is waiting for it"
                )
            waiting.blockers.append(self)
        try:
            yield
        finally:
            with _circles:
                waiting.blockers.remove(self)

    def _leads_to(self, flights: "set[Flight]") -> bool:
        """Whether this flight is, or is blocked by, one of some flights."""
        seen: set[Flight] = set()
        ahead = [self]
        while ahead:
            flight = ahead.pop()
            if flight in flights:
                return True
            if flight not in seen:
                seen.add(flight)
                ahead.extend(flight.blockers)
        return False


class _ThreadFlight(Flight):
    """The making of one value by one thread."""

    __slots__ = ("_landing", "error", "process", "value")

    def __init__(self, cache: "Cache[Any, Any]", key: Hashable) -> None:
        super().__init__(cache, key)
        self.process = os.getpid()
        self.value: Any = ABSENT
        self.error: BaseException | None = None
        self._landing = threading.Lock()
        self._landing.acquire()

    def land(self) -> None:
        """Wake who waits."""
        self._landing.release()

    def wait(self) -> None:
        """Wait until the flight has landed."""
        with self.awaited(), self._landing:
            pass


class Flights:
    """The loads of threads. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._table: ShardedRegistry[Hashable, _ThreadFlight] = ShardedRegistry()

    def load(
        self, cache: "Cache[Any, Any]", key: Hashable, make: Callable[[], Any], terms: Terms
    ) -> Any:
        """Make a value and store it, or wait for who does."""
        while True:
            current = self._table.get(key)
            # One of another process was left behind by a fork.
            if current is not None and current.process == os.getpid() and current.is_current():
                current.wait()
                if current.error is not None:
                    raise current.error
                if current.value is not ABSENT:
                    return current.value
                # Whoever was making it has been interrupted.
                continue
            flight = _ThreadFlight(cache, key)
            try:
                if self._enter(current, flight):
                    return self._lead(flight, make, terms)
            finally:
                flight.end()

    def _enter(self, current: _ThreadFlight | None, flight: _ThreadFlight) -> bool:
        """Take the free place of a flight, or that of one that is no longer good."""
        if current is None:
            return self._table.register(flight.key, flight)
        return self._table.compare_and_set(flight.key, current, flight)

    def _lead(self, flight: _ThreadFlight, make: Callable[[], Any], terms: Terms) -> Any:
        try:
            with flight.entered():
                value = find(flight.cache, flight.key)
                if value is ABSENT:
                    value = make()
                    flight.store(value, terms)
            flight.value = value
        except Exception as error:
            flight.error = error
            raise
        else:
            return value
        finally:
            self._table.pop_if(flight.key, lambda entered: entered is flight)
            flight.land()
