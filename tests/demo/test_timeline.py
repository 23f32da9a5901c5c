from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_flights import line, made, some_flights

from overdrive.demo.timeline import OVERDUE_MINUTES, TAXI_MINUTES, Timeline


def visits(timeline, start=0):
    """Yield hour, agent and observation of every visit."""
    for hour in timeline.play(start):
        for agent, observation in zip(hour.agents, hour.observations, strict=True):
            yield hour.hour, agent, observation


def facts(timeline):
    """Say in plain Python who is to learn what, and in which minute that happens.

    Each fact is (agent, scheduled hour of the day, delay or what became of the flight).
    """
    flights = timeline.flights
    for i in range(len(flights)):
        aircraft, origin, destination = timeline.parties[i].tolist()
        clock, scheduled = int(flights.hour[i]), int(flights.scheduled[i])
        departure = flights.departure_delay[i]
        if flights.cancelled[i]:
            for agent in (aircraft, origin, destination):
                yield scheduled, (agent, None, "cancelled")
            continue
        yield scheduled + departure, (origin, clock, int(departure))
        arrived = flights.arrived[i]
        later = flights.air_time[i] + TAXI_MINUTES if arrived else OVERDUE_MINUTES
        what = (clock, int(flights.arrival_delay[i])) if arrived else (None, "diverted")
        for agent in (aircraft, destination):
            yield scheduled + departure + later, (agent, *what)


def told(timeline):
    """Yield hour and fact for all that agents are told."""
    for hour, agent, observation in visits(timeline):
        for clock, delay in zip(observation.hours, observation.delays, strict=True):
            yield hour, (agent, int(clock), int(delay))
        for what in ("cancelled", "diverted"):
            for _ in range(getattr(observation, what)):
                yield hour, (agent, None, what)


def first_minute(timeline):
    return int(timeline.flights.scheduled.min()) // 60 * 60


@given(some_flights())
def test_everybody_learns_everything_once_and_unknown_aircraft_nothing(flights):
    timeline = Timeline(flights)
    expected = Counter(fact for _, fact in facts(timeline) if fact[0] >= 0)
    assert Counter(fact for _, fact in told(timeline)) == expected


@given(some_flights())
def test_nothing_is_learnt_before_it_happened_nor_much_later(flights):
    timeline = Timeline(flights)
    begin = first_minute(timeline)
    happened, learnt = {}, {}
    for minute, fact in facts(timeline):
        happened.setdefault(fact, []).append(minute)
    for hour, fact in told(timeline):
        learnt.setdefault(fact, []).append(begin + 60 * hour)
    for fact, minutes in learnt.items():
        # What looks the same is compared in order: first happened, first learnt.
        for when, minute in zip(sorted(minutes), sorted(happened[fact]), strict=True):
            assert minute <= when
            # Flights that leave early are learnt of after the hour they were scheduled in.
            assert when - minute < 60 + 30 + 60


@given(some_flights())
def test_every_flight_is_predicted_once_in_its_hour_before_anything_of_it_is_known(flights):
    timeline = Timeline(flights)
    begin = first_minute(timeline)
    predicted = {}
    for hour in timeline.play():
        visited = set(hour.agents)
        for flight in hour.scheduled.tolist():
            assert flight not in predicted
            predicted[flight] = hour.hour
            assert 0 <= flights.scheduled[flight] - begin - 60 * hour.hour < 60
            assert {a for a in timeline.parties[flight].tolist() if a >= 0} <= visited
            assert all(o.clock == flights.hour[flight] for o in hour.observations)
        for flight in hour.landed.tolist():
            assert predicted[flight] < hour.hour
    assert predicted.keys() == set(range(len(flights)))


@given(some_flights())
def test_every_arrival_is_scored_once_and_only_arrivals(flights):
    timeline = Timeline(flights)
    landed = np.concatenate([hour.landed for hour in timeline.play()])
    assert sorted(landed.tolist()) == np.flatnonzero(flights.arrived).tolist()


@given(some_flights())
def test_the_sums_of_an_hour_are_those_of_its_observations(flights):
    timeline = Timeline(flights)
    total = 0
    for hour in timeline.play():
        assert len(set(hour.agents)) == len(hour.agents) == len(hour.observations)
        assert hour.delays.tolist() == [d for o in hour.observations for d in o.delays.tolist()]
        assert hour.cancelled == sum(o.cancelled for o in hour.observations)
        assert hour.diverted == sum(o.diverted for o in hour.observations)
        total += len(hour.delays) + hour.cancelled + hour.diverted
    assert total == timeline.observations


@given(some_flights(), st.data())
def test_a_replay_may_begin_at_any_hour(flights, data):
    timeline = Timeline(flights)
    start = data.draw(st.integers(0, timeline.hours))
    tail = [(hour, agent) for hour, agent, _ in visits(timeline) if hour >= start]
    assert [(hour, agent) for hour, agent, _ in visits(timeline, start)] == tail


@given(some_flights(), st.data())
def test_pending_flights_are_those_in_the_air_or_on_the_ground(flights, data):
    timeline = Timeline(flights)
    now = data.draw(st.integers(0, timeline.hours))
    predicted = {f for h in timeline.play() if h.hour < now for f in h.scheduled.tolist()}
    open_ends = {f for h in timeline.play() if h.hour >= now for f in h.landed.tolist()}
    assert set(timeline.pending(now).tolist()) == predicted & open_ends


def test_the_clock_goes_on_in_hours_without_a_departure():
    timeline = Timeline(made(line(0, air="600"), line(1440)))
    assert [(h.hour, h.observations[0].clock) for h in timeline.play()] == [
        (0, 0),
        (1, 1),
        (11, 11),
        (24, 0),
        (25, 1),
        (26, 2),
    ]


def test_a_flight_that_arrived_after_an_unknown_time_is_learnt_of_when_overdue():
    timeline = Timeline(made(line(air="NA", arr="12")))
    landed = [hour.hour for hour in timeline.play() if len(hour.landed)]
    assert landed == [OVERDUE_MINUTES // 60]


@pytest.mark.parametrize(("hour", "expected"), [(0, "2013-01-01T05"), (30, "2013-01-02T11")])
def test_a_day_is_that_of_the_flights(hour, expected):
    timeline = Timeline(made(line(10)))
    assert str(timeline.day(hour)) == f"{expected}:00:00"
