"""One replay of the flights, in one of several ways."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from overdrive.demo.flights import Floats
from overdrive.demo.forecast import NOBODY, Baselines, Estimate, Forecaster, Score
from overdrive.demo.timeline import HOURS_PER_DAY, Hour, Observation, Timeline
from overdrive.demo.ways import Way
from overdrive.errors import OptionError

__all__ = ["Replay", "Result", "Seen"]


@dataclass(slots=True)
class Seen:
    """What the agents were told, counted apart from what they say themselves.

    Attributes:
        flights: Delays that agents learnt.
        delay_minutes: The sum of those delays.
        cancelled: Cancellations that agents learnt of.
        diverted: Flights that did not arrive, counted once for each agent that learnt of it.
    """

    flights: int = 0
    delay_minutes: int = 0
    cancelled: int = 0
    diverted: int = 0

    def add(self, hour: Hour) -> None:
        """Count what agents are told in an hour."""
        self.flights += len(hour.delays)
        self.delay_minutes += int(hour.delays.sum())
        self.cancelled += hour.cancelled
        self.diverted += hour.diverted

    @property
    def observations(self) -> int:
        """How often an agent learnt of a flight."""
        return self.flights + self.cancelled + self.diverted


@dataclass(slots=True)
class Result:
    """What a replay did.

    Attributes:
        label: The way it was done.
        flights: Flights predicted.
        steps: Steps of agents.
        observations: How often an agent learnt of a flight.
        messages: Messages delivered between agents.
        states: States written to the database.
        seconds: Wall time, until the last state was written.
        step_ms_p50: Median time to step all agents of one hour, in milliseconds.
        step_ms_p99: 99th percentile of that.
        saving_ms_p99: The same with the time to hand over, or save, the states of the day before in
            the first hour of a day.
        errors: Of the agents' predictions and of two running means, by name.
        seen: What the agents were told.
        complete: Whether it came to the end of the flights.
        until: Date and time (UTC) in the flights at which it ended.
    """

    label: str
    flights: int = 0
    steps: int = 0
    observations: int = 0
    messages: int = 0
    states: int = 0
    seconds: float = 0.0
    step_ms_p50: float = 0.0
    step_ms_p99: float = 0.0
    saving_ms_p99: float = 0.0
    errors: dict[str, Score] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    complete: bool = False
    until: str = ""

    @property
    def observations_per_second(self) -> float:
        """How many observations agents made in a second of wall time."""
        return self.observations / self.seconds if self.seconds else 0.0


class Replay:
    """Steps the agents hour by hour, predicts flights, and keeps the score.

    Args:
        timeline: What happens when.
        baselines: The running means to compare with.
        way: How the agents are stepped.
        seed: Decides the order in which the agents of an hour are stepped, which must not matter.
    """

    def __init__(self, timeline: Timeline, baselines: Baselines, way: Way, *, seed: int) -> None:
        self._timeline = timeline
        self._way = way
        self._names = [*timeline.flights.tails, *timeline.flights.airports]
        self._forecaster = Forecaster(len(timeline.flights))
        self._predictions = {
            "agents": self._forecaster.predictions,
            "mean of all flights": baselines.overall,
            "mean of the aircraft": baselines.aircraft,
        }
        self._errors = {name: Score() for name in self._predictions}
        self._seen = Seen()
        self._predicted = 0
        self._start = 0
        self._random = np.random.default_rng(seed)
        # By agent; the last place, -1, is for flights without a tail number.
        self._estimates = np.tile(np.array(NOBODY), (len(self._names) + 1, 1))
        self._latencies: list[float] = []
        self._pauses: list[float] = []
        self._steps = 0

    @property
    def predictions(self) -> Floats:
        """Predicted arrival delays in minutes; NaN before a flight is predicted."""
        return self._forecaster.predictions

    @property
    def predicted(self) -> int:
        """Flights predicted so far, those before the last checkpoint included."""
        return self._predicted

    def restore(self) -> bool:
        """Go back to the last checkpoint; `False` if there is none.

        Raises:
            OptionError: If the checkpoint is of other flights.
        """
        marker = self._way.restore()
        if marker is None:
            return False
        if marker["of"] != self._identity():
            raise OptionError(
                f"the saved run is of {marker['of'][0]} flights, not of {self._identity()[0]}: "
                "give the same --flights, or run without --resume"
            )
        self._start = marker["hour"]
        self._predicted = marker["predicted"]
        self._errors = {name: Score(**sums) for name, sums in marker["errors"].items()}
        self._seen = Seen(**marker["seen"])
        self._forecaster.set_state(marker["forecast"])
        return True

    def run(
        self,
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, np.datetime64], None] = lambda _, __: None,
    ) -> Result:
        """Replay from where it stands to the end, and finish the way.

        Args:
            stop: Asked after each hour whether to end there.
            progress: Told once a day how many flights are predicted, and the date.
        """
        began = time.perf_counter()
        before = self._seen.observations
        predicted_before = self._predicted
        next_day = self._start + HOURS_PER_DAY
        position = self._start
        complete = True
        for hour in self._timeline.play(self._start):
            pause = 0.0
            if hour.hour >= next_day:
                pause = self._checkpoint(hour.hour)
                next_day = hour.hour + HOURS_PER_DAY
                progress(self._predicted, self._timeline.day(hour.hour))
            self._pauses.append(pause)
            self._do_hour(hour)
            position = hour.hour + 1
            if stop():
                complete = position >= self._timeline.hours
                break
        self._checkpoint(position)
        self._way.finish()
        progress(self._predicted, self._timeline.day(position))
        steps = np.array(self._latencies)
        return Result(
            label=self._way.label,
            flights=self._predicted - predicted_before,
            steps=self._steps,
            observations=self._seen.observations - before,
            messages=self._way.messages,
            states=self._way.saved,
            seconds=time.perf_counter() - began,
            step_ms_p50=_percentile_ms(steps, 50),
            step_ms_p99=_percentile_ms(steps, 99),
            saving_ms_p99=_percentile_ms(steps + self._pauses, 99),
            errors=self._errors,
            seen=self._seen,
            complete=complete,
            until=str(self._timeline.day(position)),
        )

    def _do_hour(self, hour: Hour) -> None:
        observations = self._in_any_order(hour)
        began = time.perf_counter()
        estimates = self._way.step(observations)
        self._latencies.append(time.perf_counter() - began)
        self._steps += len(observations)
        self._seen.add(hour)
        if len(hour.landed):
            delays = self._timeline.flights.arrival_delay[hour.landed]
            for name, predictions in self._predictions.items():
                self._errors[name].add(delays - predictions[hour.landed])
            self._forecaster.learn(hour.landed, delays)
        if hour.hour % HOURS_PER_DAY == 0:
            self._forecaster.renew()
        if len(hour.scheduled):
            self._predict(hour, estimates)

    def _in_any_order(self, hour: Hour) -> dict[str, Observation]:
        """Return the hour's observations by agent, in a random order."""
        names, agents, observations = self._names, hour.agents, hour.observations
        order = self._random.permutation(len(agents)).tolist()
        return {names[agents[i]]: observations[i] for i in order}

    def _predict(self, hour: Hour, estimates: Mapping[str, Estimate]) -> None:
        self._estimates[hour.agents] = [estimates[self._names[agent]] for agent in hour.agents]
        parties = self._timeline.parties[hour.scheduled]
        self._forecaster.predict(hour.scheduled, self._estimates[parties])
        self._predicted += len(hour.scheduled)

    def _checkpoint(self, hour: int) -> float:
        """Have everything saved that a replay from this hour on needs; return how long it took."""
        marker = {
            "of": self._identity(),
            "hour": hour,
            "predicted": self._predicted,
            "errors": {name: asdict(score) for name, score in self._errors.items()},
            "seen": asdict(self._seen),
            "forecast": self._forecaster.get_state(self._timeline.pending(hour)),
        }
        began = time.perf_counter()
        self._way.checkpoint(marker)
        return time.perf_counter() - began

    def _identity(self) -> list[int]:
        """Tell runs apart that cannot go on from each other's checkpoints."""
        return [len(self._timeline.flights), self._timeline.observations]


def _percentile_ms(seconds: Floats, percent: float) -> float:
    return 1000 * float(np.percentile(seconds, percent)) if len(seconds) else 0.0
