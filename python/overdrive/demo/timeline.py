"""What is known when: flights as visits to agents, hour by hour.

The clock of the replay goes in whole hours. An agent is *visited* in an hour if it has something to
learn or is to be asked. Everybody learns only what had happened before the hour began:

- the origin learns the departure delay when the flight has left;
- the aircraft and the destination learn the arrival delay when it has landed and taxied;
- all of them learn of a cancellation at the time the flight was scheduled for, and of a flight that
  did not arrive some hours after it left.

A flight is predicted at the beginning of the hour it is scheduled in, by its three agents. So no
prediction can know its own flight, or anything else from the future.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from overdrive.demo.flights import Flights, Floats, Ints

__all__ = ["HOURS_PER_DAY", "Hour", "Observation", "Timeline"]

HOURS_PER_DAY = 24
TAXI_MINUTES = 45
"""What taxiing at both ends takes at most, nearly always."""
OVERDUE_MINUTES = 360
"""So long after its departure, a flight that does not arrive is known not to."""


class Observation(NamedTuple):
    """What one agent learns in one hour, in whole minutes.

    Attributes:
        hour: Hours since the timeline began.
        clock: Hour of the day in New York, for which the agent is asked.
        hours: Scheduled hours of the day of the flights it learns about, shape (flights,).
        delays: Their delays in minutes, shape (flights,).
        cancelled: Further flights that were cancelled.
        diverted: Further flights that did not arrive.
    """

    hour: int
    clock: int
    hours: Ints
    delays: Ints
    cancelled: int
    diverted: int


class Hour(NamedTuple):
    """One hour of the replay.

    Attributes:
        hour: Hours since the timeline began.
        agents: Indices of the agents that are visited, each once.
        observations: What they learn.
        scheduled: Indices of the flights to predict.
        landed: Indices of the flights whose arrival delay is known from now on.
        delays: The delays of all observations, one after another.
        cancelled: The sum of the observations' `cancelled`.
        diverted: The sum of the observations' `diverted`.
    """

    hour: int
    agents: list[int]
    observations: list[Observation]
    scheduled: Ints
    landed: Ints
    delays: Ints
    cancelled: int
    diverted: int


@dataclass(frozen=True, slots=True)
class _Groups:
    """Items in the order of their keys, with the range that each key has."""

    items: Ints
    starts: Ints

    @classmethod
    def by(cls, keys: Ints, items: Ints, count: int) -> "_Groups":
        order = np.argsort(keys, kind="stable")
        return cls(items[order], np.searchsorted(keys[order], np.arange(count + 1)))

    def of(self, key: int) -> Ints:
        return self.items[self.starts[key] : self.starts[key + 1]]


class Timeline:
    """The flights as visits to agents.

    Agents are numbered: first the aircraft, then the airports.

    Attributes:
        flights: The flights.
        parties: Agents of each flight: aircraft (-1 if unknown), origin and destination, shape
            (flights, 3).
        hours: The number of hours.
        observations: How often an agent learns of a flight.
    """

    def __init__(self, flights: Flights) -> None:
        self.flights = flights
        aircraft = len(flights.tails)
        self.parties: Ints = np.stack(
            [flights.aircraft, flights.origin + aircraft, flights.destination + aircraft], axis=1
        )
        first = int(flights.scheduled.min()) // 60
        self._first = first
        departed, landed = _known(flights)
        self._due = flights.scheduled // 60 - first
        # A flight that leaves early is still predicted before it is seen.
        self._departed = np.maximum(np.ceil(departed / 60).astype(np.int64) - first, self._due + 1)
        self._landed = np.maximum(np.ceil(landed / 60).astype(np.int64) - first, self._departed)
        self.hours = int(max(self._due.max(), self._landed.max(), self._departed.max())) + 1
        self._longest = int((self._landed - self._due).max())
        self._arrived = flights.arrived
        everyone = np.arange(len(flights))
        self._scheduled = _Groups.by(self._due, everyone, self.hours)
        arrivals = everyone[self._arrived]
        self._arrivals = _Groups.by(self._landed[arrivals], arrivals, self.hours)
        self._clock = self._clocks()
        self.observations = 0
        self._lay_out_visits()

    def day(self, hour: int) -> np.datetime64:
        """Return the date and time (UTC) at which an hour begins."""
        return np.datetime64((self._first + hour) * 3600, "s")

    def pending(self, hour: int) -> Ints:
        """Return the flights that are predicted before an hour and land in it or later."""
        begin, end = np.searchsorted(self._due, [hour - self._longest, hour])
        flights = np.arange(begin, end)
        return flights[(self._landed[flights] >= hour) & self._arrived[flights]]

    def play(self, start: int = 0) -> Iterator[Hour]:
        """Yield the hours in which something happens, from hour `start` on."""
        for hour in range(start, self.hours):
            begin, end = int(self._visits[hour]), int(self._visits[hour + 1])
            if begin == end:
                continue
            clock = int(self._clock[hour])
            starts = self._starts[begin : end + 1].tolist()
            cancelled = self._cancelled[begin:end].tolist()
            diverted = self._diverted[begin:end].tolist()
            hours, delays = self._hours, self._delays
            yield Hour(
                hour,
                self._agents[begin:end].tolist(),
                [
                    Observation(hour, clock, hours[a:b], delays[a:b], lost, stray)
                    for a, b, lost, stray in zip(
                        starts[:-1], starts[1:], cancelled, diverted, strict=True
                    )
                ],
                self._scheduled.of(hour),
                self._arrivals.of(hour),
                delays[starts[0] : starts[-1]],
                sum(cancelled),
                sum(diverted),
            )

    def _clocks(self) -> Ints:
        """Return New York's hour of the day for each hour, as the schedule shows it."""
        offset = (self.flights.hour - self._due) % HOURS_PER_DAY
        known = np.full(self.hours, -1)
        known[self._due] = offset
        # Hours without a departure keep the offset of the hour before.
        latest = np.maximum.accumulate(np.where(known >= 0, np.arange(self.hours), 0))
        clocks: Ints = (np.arange(self.hours) + known[latest]) % HOURS_PER_DAY
        return clocks

    def _lay_out_visits(self) -> None:
        """Sort all that agents learn, and are asked, by hour and agent."""
        flights, parties = self.flights, self.parties
        pieces = [
            (flights.arrived, self._landed, 0, flights.arrival_delay),
            (~flights.cancelled, self._departed, 1, flights.departure_delay),
            (flights.arrived, self._landed, 2, flights.arrival_delay),
        ]
        learnt = [
            (when[mask], parties[mask, party], flights.hour[mask], delay[mask].astype(np.int64))
            for mask, when, party, delay in pieces
        ]
        when, agent, hour, delay = (np.concatenate(column) for column in zip(*learnt, strict=True))
        known = agent >= 0
        keys = self._key(when, agent)[known]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        self._hours, self._delays = hour[known][order], delay[known][order]
        lost = self._missing_keys(flights.cancelled, self._departed, (0, 1, 2))
        stray = self._missing_keys(flights.diverted, self._landed, (0, 2))
        asked = self._missing_keys(np.ones(len(flights), bool), self._due, (0, 1, 2))
        visits = np.unique(np.concatenate([keys, lost, stray, asked]))
        self.observations = len(keys) + len(lost) + len(stray)
        self._agents = visits % self._stride
        self._starts = np.append(np.searchsorted(keys, visits), len(keys))
        self._cancelled = _count(lost, visits)
        self._diverted = _count(stray, visits)
        self._visits = np.searchsorted(visits, np.arange(self.hours + 1) * self._stride)

    @property
    def _stride(self) -> int:
        return len(self.flights.tails) + len(self.flights.airports)

    def _key(self, hour: Ints, agent: Ints) -> Ints:
        return hour * self._stride + agent

    def _missing_keys(
        self, mask: "np.typing.NDArray[np.bool_]", when: Ints, parties: tuple[int, ...]
    ) -> Ints:
        """Return the visits that some flights make without a delay to tell of."""
        agents = self.parties[mask][:, parties]
        hours = np.repeat(when[mask], len(parties))
        flat = agents.ravel()
        keys: Ints = self._key(hours, flat)[flat >= 0]
        return keys


def _known(flights: Flights) -> tuple[Floats, Floats]:
    """Return the minutes from which a departure and an arrival (or the lack of one) are known."""
    delay: Floats = np.where(flights.cancelled, 0.0, flights.departure_delay)
    departed: Floats = flights.scheduled + delay
    flown: Floats = np.where(
        flights.arrived & ~np.isnan(flights.air_time),
        flights.air_time + TAXI_MINUTES,
        float(OVERDUE_MINUTES),
    )
    return departed, np.where(flights.cancelled, departed, departed + flown)


def _count(keys: Ints, visits: Ints) -> Ints:
    """Count how often each visit is among the keys, all of which are visits."""
    return np.bincount(np.searchsorted(visits, keys), minlength=len(visits)).astype(np.int64)
