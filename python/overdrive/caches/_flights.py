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
flight therefore runs with its name in a context variable, which tasks inherit. Before a flight
waits for another, or makes its value in the middle of its own, it is noted as blocked; then it
follows who is blocked by whom, and raises if that leads back to itself. Of several flights that
close a circle at the same moment each has been noted before any looks, so at least one sees it.
There is no lock: a garbage collection or a fork may come at any step.

A key may raise whenever it is hashed or compared, and a signal may end a leader anywhere. So a
flight lands whatever happens, and one that has landed and is still in the table is worth as much as
a free place.
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


class Terms:
    """How a loaded value is stored."""

    __slots__ = ("tags", "ttl")

    def __init__(
        self, ttl: float | timedelta | None = None, tags: Iterable[str] | None = None
    ) -> None:
        self.ttl = ttl
        # For each who asks whether they were invalidated, and before anything is made in vain.
        self.tags = (tags,) if isinstance(tags, str) else tuple(tags or ())
        for tag in self.tags:
            if not isinstance(tag, str):
                raise TypeError(f"tags must be strings, got {tag!r}")


def find(cache: "Cache[Any, Any]", key: Hashable) -> Any:
    """Look a key up again; an absent one is not counted twice."""
    return cache.get(key, ABSENT) if key in cache else ABSENT


class Flight:
    """The making of one value."""

    __slots__ = ("blockers", "cache", "key", "terms", "ticket")

    def __init__(self, cache: "Cache[Any, Any]", key: Hashable, terms: Terms) -> None:
        self.cache = cache
        self.key = key
        self.terms = terms
        self.ticket = cache._begin_load()
        self.blockers: list[Flight] = []

    def is_current(self) -> bool:
        """Whether nothing has changed since it began."""
        return self.cache._is_current(self.key, self.ticket, self.terms.tags)

    def store(self, value: Any) -> None:
        """Store the value that was made, unless something has changed."""
        ttl, tags = self.terms.ttl, self.terms.tags
        self.cache._store_loaded(self.key, value, self.ticket, ttl, tags)

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
        waiting.blockers.append(self)
        try:
            if self._leads_to(set(chain)):
                raise RuntimeError(
                    f"the value of {waiting.key!r} needs the value of {self.key!r}, "
                    "which is waiting for it"
                )
            yield
        finally:
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

    __slots__ = ("_landed", "_landing", "_process", "error", "value")

    def __init__(self, cache: "Cache[Any, Any]", key: Hashable, terms: Terms) -> None:
        super().__init__(cache, key, terms)
        self.value: Any = ABSENT
        self.error: BaseException | None = None
        self._process = os.getpid()
        self._landed = False
        self._landing = threading.Lock()
        self._landing.acquire()

    def is_joinable(self) -> bool:
        """Whether it is on its way to a value that is still wanted."""
        # One of another process was left behind by a fork.
        return not self._landed and self._process == os.getpid() and self.is_current()

    def land(self) -> None:
        """Wake who waits."""
        self._landed = True
        self._landing.release()
        self.end()

    def wait(self) -> Any:
        """Wait until it has landed. Return the value, `ABSENT` if its making was interrupted."""
        with self.awaited(), self._landing:
            pass
        value, error = self.value, self.error
        # An error refers to the frames it went through, which must not refer to the error.
        del self
        if error is None:
            return value
        try:
            raise error
        finally:
            del error


class Flights:
    """The loads of threads. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._table: ShardedRegistry[Hashable, _ThreadFlight] = ShardedRegistry(1)

    def load(
        self, cache: "Cache[Any, Any]", key: Hashable, make: Callable[[], Any], terms: Terms
    ) -> Any:
        """Make a value and store it, or wait for who does."""
        value = ABSENT
        while value is ABSENT:
            flight = self._table.get(key)
            try:
                if flight is not None and flight.is_joinable():
                    value = flight.wait()
                else:
                    value = self._fly(flight, _ThreadFlight(cache, key, terms), make)
            finally:
                # As above.
                del flight
        return value

    def _fly(
        self, before: _ThreadFlight | None, flight: _ThreadFlight, make: Callable[[], Any]
    ) -> Any:
        """Make the value, or return `ABSENT` if somebody else has begun to."""
        try:
            return self._lead(flight, make) if self._enter(before, flight) else ABSENT
        finally:
            flight.land()
            del before, flight

    def _enter(self, before: _ThreadFlight | None, flight: _ThreadFlight) -> bool:
        """Take the free place of a flight, or that of one that is no longer good."""
        if before is None:
            return self._table.register(flight.key, flight)
        return self._table.compare_and_set(flight.key, before, flight)

    def _lead(self, flight: _ThreadFlight, make: Callable[[], Any]) -> Any:
        try:
            with flight.awaited(), flight.entered():
                value = find(flight.cache, flight.key)
                if value is ABSENT:
                    value = make()
                    flight.store(value)
            flight.value = value
        except Exception as error:
            flight.error = error
            raise
        else:
            return value
        finally:
            self._leave(flight)
            del flight

    def _leave(self, flight: _ThreadFlight) -> None:
        self._table.pop_if(flight.key, lambda entered: entered is flight)
