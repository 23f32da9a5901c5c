"""Requests under way that identical ones may wait for.

One leads: it asks the application in its own task, as if nobody waited. Others follow: each waits
on a future of its own, with a deadline of its own, so nothing that happens to one reaches another.
A flight ends in one of three ways. Its answer suits all who follow; or the answer is nobody else's
business, and all followers are *released* and ask for themselves, at the same time; or the leader
was cancelled or gave up before there was an answer, the flight is *abandoned*, and the first of the
followers to wake leads a new one.

Flights belong to one event loop and are only touched by its thread.
"""

import asyncio
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Ending", "Flight", "Flights", "FlightsByLoop"]

Answer = TypeVar("Answer")


class Ending(Enum):
    """How waiting ended when it did not end with an answer."""

    RELEASED = "released"
    ABANDONED = "abandoned"
    LATE = "late"


class Flight(Generic[Answer]):
    """One request under way."""

    __slots__ = ("_flights", "_left", "_waiters", "began", "ended", "key", "token")

    def __init__(self, flights: "Flights[Answer]", key: Hashable, began: float) -> None:
        self.key = key
        self.began = began
        self.ended = False
        self.token: object = None
        """Whatever the leader wants to be found with the flight."""
        self._flights = flights
        self._waiters: set[asyncio.Future[Answer | Ending]] | None = None
        self._left: asyncio.Event | None = None

    @property
    def followers(self) -> int:
        """How many wait."""
        return len(self._waiters or ())

    async def wait(self, deadline: float) -> Answer | Ending:
        """Wait for the answer until a time of the loop's clock."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer | Ending] = loop.create_future()
        alarm = loop.call_at(deadline, _settle, waiter, Ending.LATE)
        if self._waiters is None:
            self._waiters = set()
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            alarm.cancel()
            self._waiters.discard(waiter)
            if self._left is not None and not self._waiters:
                self._left.set()

    async def wait_until_left(self) -> None:
        """Wait until nobody follows any more, or the flight has ended."""
        while self._waiters and not self.ended:
            self._left = asyncio.Event()
            await self._left.wait()

    def end(self, outcome: Answer | Ending) -> None:
        """Tell all followers, and let nobody join any more. A second call does nothing."""
        if self.ended:
            return
        self.ended = True
        self._flights.remove(self)
        for waiter in tuple(self._waiters or ()):
            _settle(waiter, outcome)
        if self._left is not None:
            self._left.set()


def _settle(waiter: "asyncio.Future[Answer | Ending]", outcome: Answer | Ending) -> None:
    if not waiter.done():
        waiter.set_result(outcome)


class Flights(Generic[Answer]):
    """The flights of one event loop.

    Args:
        window: Seconds after its beginning during which a flight may be joined.
        max_followers: How many may wait for one flight.
    """

    __slots__ = ("_max_followers", "_running", "_window")

    def __init__(self, window: float, max_followers: int) -> None:
        self._window = window
        self._max_followers = max_followers
        self._running: dict[Hashable, Flight[Answer]] = {}

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._running)

    def find(self, key: Hashable, now: float) -> Flight[Answer] | None:
        """Return the flight to join, if there is one that is not too old."""
        flight = self._running.get(key)
        if flight is None or now - flight.began > self._window:
            return None
        return flight

    def is_full(self, flight: Flight[Answer]) -> bool:
        """Whether no more may follow."""
        return flight.followers >= self._max_followers

    def lead(self, key: Hashable, now: float) -> Flight[Answer]:
        """Begin a flight; an older one of the same key goes on for those who joined it."""
        flight = Flight(self, key, now)
        self._running[key] = flight
        return flight

    def remove(self, flight: Flight[Answer]) -> None:
        """Let nobody join a flight any more."""
        if self._running.get(flight.key) is flight:
            del self._running[flight.key]

    def running(self) -> list[Flight[Answer]]:
        """Return the flights under way."""
        return list(self._running.values())


class FlightsByLoop(Generic[Answer]):
    """Gives each event loop its flights."""

    def __init__(self, window: float, max_followers: int) -> None:
        self._options = (window, max_followers)
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Flights[Answer]] = (
            WeakKeyDictionary()
        )
        self._last: tuple[asyncio.AbstractEventLoop | None, Flights[Answer] | None] = (None, None)

    def of(self, loop: asyncio.AbstractEventLoop) -> Flights[Answer]:
        """Return the flights of a loop."""
        last_loop, last_flights = self._last
        if last_loop is loop and last_flights is not None:
            return last_flights
        flights = self._by_loop.get(loop)
        if flights is None:
            flights = self._by_loop.setdefault(loop, Flights(*self._options))
        # One assignment, so that no other thread sees half of it.
        self._last = (loop, flights)
        return flights
