import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_flights import MemorySink, first_flights, line, made, some_flights

from overdrive.demo.forecast import Baselines
from overdrive.demo.replay import Replay
from overdrive.demo.timeline import Timeline
from overdrive.demo.ways import Loop, Managed, Pool
from overdrive.errors import OptionError

WAYS = [Managed, Loop, Pool]
TOTALS = ("flights", "delay_minutes", "cancelled", "diverted")


def replay_of(timeline, way=Managed, seed=0, sink=None):
    return Replay(timeline, Baselines(timeline), way(timeline, sink or MemorySink()), seed=seed)


@pytest.fixture(scope="module")
def usual(week):
    """The predictions and states that every replay of the week must come to."""
    sink = MemorySink()
    replay = replay_of(week, sink=sink)
    result = replay.run()
    return replay.predictions.tobytes(), sink, result


@pytest.mark.parametrize(("way", "seed"), [(Managed, 1), (Loop, 0), (Loop, 7), (Pool, 2)])
def test_neither_the_way_nor_the_order_of_steps_changes_a_bit(week, usual, way, seed):
    predictions, usual_sink, expected = usual
    sink = MemorySink()
    replay = replay_of(week, way, seed, sink)
    result = replay.run()
    assert replay.predictions.tobytes() == predictions
    assert sink.states == usual_sink.states
    assert sink.marker == usual_sink.marker
    for name in ("flights", "steps", "observations", "messages", "states", "errors", "seen"):
        assert getattr(result, name) == getattr(expected, name), name


def test_every_flight_has_a_prediction_and_the_totals_are_those_of_the_data(week, usual):
    predictions, sink, result = usual
    flights = week.flights
    assert not np.isnan(np.frombuffer(predictions)).any()
    assert result.flights == len(flights) == 5000
    assert result.observations == week.observations
    states = sink.load()[0].values()
    assert {name: sum(s[name] for s in states) for name in TOTALS} == asdict(result.seen)
    assert result.seen.flights == (
        (~flights.cancelled).sum()
        + flights.arrived.sum()
        + (flights.arrived & (flights.aircraft >= 0)).sum()
    )
    assert result.messages > 0
    assert result.complete
    assert result.errors.keys() == {"agents", "mean of all flights", "mean of the aircraft"}
    assert {score.flights for score in result.errors.values()} == {int(flights.arrived.sum())}


def test_within_a_month_the_agents_predict_better_than_the_means():
    errors = replay_of(Timeline(first_flights(27_000))).run().errors
    agents = errors["agents"].root_mean_square
    assert agents < 0.95 * errors["mean of all flights"].root_mean_square
    assert agents < 0.95 * errors["mean of the aircraft"].root_mean_square


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_that_goes_on_from_any_checkpoint_comes_to_the_same(week, usual, way):
    predictions, usual_sink, expected = usual
    for checkpoint in range(0, len(usual_sink.checkpoints), 3):
        sink = usual_sink.at(checkpoint)
        replay = replay_of(week, way, seed=checkpoint, sink=sink)
        assert replay.restore()
        done = replay.predicted
        result = replay.run()
        assert sink.states == usual_sink.states
        assert sink.marker == usual_sink.marker
        assert result.seen == expected.seen
        assert result.errors == expected.errors
        assert result.flights == 5000 - done
        assert np.frombuffer(predictions)[done:].tobytes() == replay.predictions[done:].tobytes()


@settings(max_examples=15)
@given(some_flights(), st.integers(1, 60))
def test_a_replay_may_be_stopped_after_any_hour(flights, hours):
    timeline = Timeline(flights)
    whole, stopped = MemorySink(), MemorySink()
    expected = replay_of(timeline, sink=whole).run()
    count = itertools.count(1)
    first = replay_of(timeline, Loop, sink=stopped).run(stop=lambda: next(count) >= hours)
    second = replay_of(timeline, sink=stopped)
    assert second.restore()
    result = second.run()
    assert (stopped.states, stopped.marker) == (whole.states, whole.marker)
    assert first.flights + result.flights == len(flights)
    assert first.observations + result.observations == timeline.observations
    assert result.errors == expected.errors
    assert result.complete
    assert first.complete or result.steps


def test_without_a_checkpoint_there_is_nothing_to_restore(week):
    assert not replay_of(week).restore()


def test_a_checkpoint_of_other_flights_is_refused(usual):
    other = Timeline(first_flights(100))
    with pytest.raises(OptionError, match="the saved run is of 5000 flights, not of 100"):
        replay_of(other, sink=usual[1].at(-1)).restore()


def test_progress_is_told_once_a_day_and_at_the_end(week):
    told = []
    replay_of(week, Loop).run(progress=lambda flights, moment: told.append((flights, str(moment))))
    assert [flights for flights, _ in told] == sorted(flights for flights, _ in told)
    assert told[-1][0] == 5000
    days = [moment[:10] for _, moment in told[:-1]]
    assert days == sorted(set(days))


def test_the_smallest_replays_work():
    for flight in (line(), line(tail="NA"), line(dep="NA", arr="NA", air="NA", tail="NA")):
        for way in WAYS:
            result = replay_of(Timeline(made(flight)), way).run()
            assert result.flights == 1
            assert result.complete


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_that_fails_ends_the_replay(week, way):
    runner = way(week, MemorySink())
    replay = Replay(week, Baselines(week), runner, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("overdrive.demo.agents._usual", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            replay.run()
    runner.finish()
