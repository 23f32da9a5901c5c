"""The agents: what an aircraft or an airport believes about delays.

A belief has two time scales. The *usual* delay for an hour of the day is the mean of all delays
seen around that hour, with a prior. The *excess* is what recent flights had beyond the usual; it
fades with a half-life, so that it is about today. Airports also hear from the airports they have
routes with, when these become congested or recover, and keep the recent level of that.

Delays are whole minutes, and their sums are integers: the order in which an agent learns about the
flights of an hour makes no difference to the last bit, neither does stepping agents one by one or
together.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from overdrive.demo.flights import Flights, Floats, Ints
from overdrive.demo.timeline import HOURS_PER_DAY, Observation, Timeline

__all__ = ["Aircraft", "Airport", "Beliefs", "Congestion", "DelayAgent", "Fleet"]

USUAL_DELAY = 5.0
"""Minutes that an agent expects before it has seen anything."""
USUAL_WEIGHT = 5.0
"""How many flights that expectation counts for."""
EXCESS_WEIGHT = 2.0
"""How many flights the expectation of no excess counts for."""
CLOCK_WIDTH = 1.5
"""Standard deviation, in hours, of what counts as around an hour of the day."""
ANNOUNCED_CHANGE = 15
"""An airport tells others when its excess has changed by so many minutes."""
LONGEST_GAP = 24 * 14
"""After so many hours, recent things are forgotten."""


class Congestion(NamedTuple):
    """A message between airports: the excess, in whole minutes, of one of them."""

    airport: str
    hour: int
    excess: int


class Beliefs:
    """The numbers of all agents, one row each.

    Attributes:
        counts: Delays seen by hour of the day, shape (agents, 24).
        sums: Their sums in minutes, shape (agents, 24).
        recent: Faded count and sum of the excess, faded count and sum of what was heard, shape
            (agents, 4).
        hours: The hour in which each agent was last visited, shape (agents,).
        others: Cancelled flights, diverted flights and the last announced excess, shape
            (agents, 3).
    """

    def __init__(self, agents: int) -> None:
        self.counts: Ints = np.zeros((agents, HOURS_PER_DAY), np.int64)
        self.sums: Ints = np.zeros((agents, HOURS_PER_DAY), np.int64)
        self.recent: Floats = np.zeros((agents, 4))
        self.hours: Ints = np.zeros(agents, np.int64)
        self.others: Ints = np.zeros((agents, 3), np.int64)


def _near() -> Floats:
    """Return how much each hour of the day counts for each other, shape (24, 24)."""
    hours = np.arange(HOURS_PER_DAY)
    apart = np.abs(hours[:, None] - hours)
    apart = np.minimum(apart, HOURS_PER_DAY - apart)
    weights: Floats = np.exp(-0.5 * (apart / CLOCK_WIDTH) ** 2)
    return weights


_NEAR = _near()


def _usual(counts: Any, sums: Any, clock: Any) -> Any:
    """Return the usual delay around an hour of the day; for rows, one value per row."""
    weights = _NEAR[clock]
    seen = (counts * weights).sum(axis=-1)
    return ((sums * weights).sum(axis=-1) + USUAL_WEIGHT * USUAL_DELAY) / (seen + USUAL_WEIGHT)


class DelayAgent:
    """One aircraft or airport.

    `step` returns, for the hour of the day it is asked about, the usual delay, the present excess
    and the level heard from others, in minutes.

    Args:
        name: Tail number or airport code.
        row: Its row in `beliefs`.
        beliefs: The numbers of all agents.
        announce: Tells others; called with a message and its topic.
    """

    HALF_LIFE: ClassVar[float]
    """Hours in which the excess fades to a half."""
    fading: ClassVar[Floats]
    """What is left after so many hours, shape (LONGEST_GAP + 1,)."""

    __slots__ = ("_announce", "_beliefs", "_heard", "_row", "name")

    def __init_subclass__(cls) -> None:
        """Tabulate the fading."""
        cls.fading = 0.5 ** (np.arange(LONGEST_GAP + 1) / cls.HALF_LIFE)
        cls.fading[-1] = 0.0

    def __init__(
        self, name: str, row: int, beliefs: Beliefs, announce: Callable[[Congestion, str], Any]
    ) -> None:
        self.name = name
        self._row = row
        self._beliefs = beliefs
        self._announce = announce
        self._heard: list[Congestion] = []

    def step(self, observation: Observation) -> tuple[float, float, float]:
        """Learn, and say what is expected."""
        beliefs, row = self._beliefs, self._row
        hour, clock, hours, delays, cancelled, diverted = observation
        counts, sums = beliefs.counts[row], beliefs.sums[row]
        recent, others = beliefs.recent[row], beliefs.others[row]
        recent *= self.fading[min(hour - beliefs.hours[row], LONGEST_GAP)]
        beliefs.hours[row] = hour
        if len(delays):
            excess = delays - _usual(counts, sums, hours)
            recent[0] += len(delays)
            recent[1] += np.bincount(np.zeros(len(delays), np.int64), excess)[0]
            np.add.at(counts, hours, 1)
            np.add.at(sums, hours, delays)
        others[0] += cancelled
        others[1] += diverted
        if self._heard:
            recent[2:] += self._take_heard(hour)
        excess = float(recent[1] / (recent[0] + EXCESS_WEIGHT))
        near = float(recent[3] / (recent[2] + EXCESS_WEIGHT))
        self._tell(hour, excess, others)
        return float(_usual(counts, sums, clock)), excess, near

    @classmethod
    def step_batch(
        cls, agents: Sequence[Self], observations: Sequence[Observation]
    ) -> list[tuple[float, float, float]]:
        """Do the same for several agents at once, to the last bit."""
        beliefs = agents[0]._beliefs
        hour, clock = observations[0].hour, observations[0].clock
        rows = np.array([agent._row for agent in agents])
        lengths = np.array([len(observation.delays) for observation in observations])
        gaps = np.minimum(hour - beliefs.hours[rows], LONGEST_GAP)
        recent = beliefs.recent[rows] * cls.fading[gaps][:, None]
        beliefs.hours[rows] = hour
        counts, sums = beliefs.counts[rows], beliefs.sums[rows]
        if lengths.any():
            hours = np.concatenate([observation.hours for observation in observations])
            delays = np.concatenate([observation.delays for observation in observations])
            owners = np.repeat(np.arange(len(agents)), lengths)
            excess = delays - _usual(counts[owners], sums[owners], hours)
            recent[:, 0] += lengths
            # Not to all: adding nothing would turn a minus zero into a zero.
            told = np.flatnonzero(lengths)
            recent[told, 1] += np.bincount(owners, excess, len(agents))[told]
            np.add.at(counts, (owners, hours), 1)
            np.add.at(sums, (owners, hours), delays)
            beliefs.counts[rows], beliefs.sums[rows] = counts, sums
        others = beliefs.others
        for i, observation in enumerate(observations):
            if observation.cancelled or observation.diverted:
                others[rows[i], :2] += (observation.cancelled, observation.diverted)
        for i, agent in enumerate(agents):
            if agent._heard:
                recent[i, 2:] += agent._take_heard(hour)
        beliefs.recent[rows] = recent
        excesses = (recent[:, 1] / (recent[:, 0] + EXCESS_WEIGHT)).tolist()
        near = (recent[:, 3] / (recent[:, 2] + EXCESS_WEIGHT)).tolist()
        cls._tell_all(agents, hour, excesses, others)
        return list(zip(_usual(counts, sums, clock).tolist(), excesses, near, strict=True))

    def receive(self, message: Congestion) -> None:
        """Keep a message for the next hour, whenever in this hour it comes."""
        self._heard.append(message)

    def get_state(self) -> dict[str, Any]:
        """Return all this agent knows, as a JSON object."""
        beliefs, row = self._beliefs, self._row
        counts, sums = beliefs.counts[row].tolist(), beliefs.sums[row].tolist()
        cancelled, diverted, announced = beliefs.others[row].tolist()
        return {
            "flights": sum(counts),
            "delay_minutes": sum(sums),
            "cancelled": cancelled,
            "diverted": diverted,
            "announced": announced,
            "hour": int(beliefs.hours[row]),
            "recent": beliefs.recent[row].tolist(),
            "counts": counts,
            "sums": sums,
            "heard": sorted(self._heard),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        beliefs, row = self._beliefs, self._row
        beliefs.counts[row] = state["counts"]
        beliefs.sums[row] = state["sums"]
        beliefs.recent[row] = state["recent"]
        beliefs.hours[row] = state["hour"]
        beliefs.others[row] = [state["cancelled"], state["diverted"], state["announced"]]
        self._heard = [Congestion(*message) for message in state["heard"]]

    def _take_heard(self, hour: int) -> tuple[int, int]:
        """Take the messages of earlier hours; return their number and the sum of their levels."""
        taken = [message.excess for message in self._heard if message.hour < hour]
        self._heard = [message for message in self._heard if message.hour >= hour]
        return len(taken), sum(taken)

    def _tell(self, hour: int, excess: float, others: Ints) -> None:
        """Tell others of a change; only airports do."""

    @classmethod
    def _tell_all(
        cls, agents: Sequence[Self], hour: int, excesses: list[float], others: Ints
    ) -> None:
        """Tell others of the changes of several agents."""


class Aircraft(DelayAgent):
    """An aircraft, known by its tail number. It learns from its own arrivals."""

    HALF_LIFE = 6.0
    __slots__ = ()


class Airport(DelayAgent):
    """An airport. It learns from departures and arrivals, and talks with other airports."""

    HALF_LIFE = 1.0
    __slots__ = ()

    def _tell(self, hour: int, excess: float, others: Ints) -> None:
        if abs(excess - others[2]) >= ANNOUNCED_CHANGE:
            others[2] = level = round(excess)
            self._announce(Congestion(self.name, hour, level), self.name)

    @classmethod
    def _tell_all(
        cls, agents: Sequence[Self], hour: int, excesses: list[float], others: Ints
    ) -> None:
        for agent, excess in zip(agents, excesses, strict=True):
            agent._tell(hour, excess, others[agent._row])


class Fleet:
    """All agents of a timeline.

    Args:
        timeline: Who there is.
        announce: How airports tell others; called with a message and its topic.
    """

    def __init__(self, timeline: Timeline, announce: Callable[[Congestion, str], Any]) -> None:
        flights = timeline.flights
        names = [*flights.tails, *flights.airports]
        self.beliefs = Beliefs(len(names))
        self.agents: list[DelayAgent] = [
            (Aircraft if i < len(flights.tails) else Airport)(name, i, self.beliefs, announce)
            for i, name in enumerate(names)
        ]
        self.routes = _routes(flights)
        """For each airport code, the airports that listen to it."""


def _routes(flights: Flights) -> dict[str, list[str]]:
    """Let airports listen to those they have routes with, and origins to each other."""
    routes: dict[str, set[str]] = {code: set() for code in flights.airports}
    codes = flights.airports
    pairs = np.unique(np.stack([flights.origin, flights.destination], axis=1), axis=0).tolist()
    origins = {codes[origin] for origin, _ in pairs}
    for origin, destination in pairs:
        routes[codes[origin]].add(codes[destination])
        routes[codes[destination]].add(codes[origin])
    for origin in origins:
        routes[origin] |= origins
    return {code: sorted(listeners - {code}) for code, listeners in routes.items()}
