import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_flights import line, made

from overdrive.demo.agents import (
    ANNOUNCED_CHANGE,
    LONGEST_GAP,
    USUAL_DELAY,
    Aircraft,
    Airport,
    Beliefs,
    Congestion,
    Fleet,
)
from overdrive.demo.timeline import Observation, Timeline

AGENTS = 4


def crew(kind, said):
    beliefs = Beliefs(AGENTS)

    def announce(message, topic):
        said.append((message, topic))

    return beliefs, [kind(f"agent {i}", i, beliefs, announce) for i in range(AGENTS)]


def seen(hour, delays=(), hours=None, clock=None, *, cancelled=0, diverted=0):
    clock = hour % 24 if clock is None else clock
    hours = [clock] * len(delays) if hours is None else hours
    return Observation(
        hour, clock, np.array(hours, int), np.array(delays, int), cancelled, diverted
    )


@st.composite
def hours_of_visits(draw):
    """For some hours: who is visited and sees what, and which messages come then."""
    visits = []
    hour = 0
    for _ in range(draw(st.integers(1, 6))):
        hour += draw(st.one_of(st.integers(1, 3), st.integers(300, 400)))
        clock = draw(st.integers(0, 23))
        told = {}
        for agent in draw(st.permutations(range(AGENTS)))[: draw(st.integers(1, AGENTS))]:
            flights = draw(
                st.lists(st.tuples(st.integers(0, 23), st.integers(-80, 1300)), max_size=20)
            )
            told[agent] = seen(
                hour,
                [delay for _, delay in flights],
                [at for at, _ in flights],
                clock,
                cancelled=draw(st.integers(0, 2)),
                diverted=draw(st.integers(0, 2)),
            )
        heard = draw(
            st.lists(st.tuples(st.integers(0, AGENTS - 1), st.integers(-30, 300)), max_size=4)
        )
        visits.append((told, heard))
    return visits


def bits(beliefs):
    return [array.tobytes() for array in vars(beliefs).values()]


def deliver(agents, heard, hour):
    for agent, level in heard:
        agents[agent].receive(Congestion("XYZ", hour, level))


@pytest.mark.parametrize("kind", [Aircraft, Airport])
@given(visits=hours_of_visits(), data=st.data())
def test_stepping_together_or_one_by_one_in_any_order_is_the_same_to_the_last_bit(
    kind, visits, data
):
    said_alone, said_together = [], []
    alone, singles = crew(kind, said_alone)
    together, group = crew(kind, said_together)
    for told, heard in visits:
        order = data.draw(st.permutations(list(told)))
        answers = {agent: singles[agent].step(told[agent]) for agent in order}
        batch = kind.step_batch([group[agent] for agent in told], list(told.values()))
        assert [np.array(answers[agent]).tobytes() for agent in told] == [
            np.array(answer).tobytes() for answer in batch
        ]
        assert bits(alone) == bits(together)
        assert sorted(said_alone) == sorted(said_together)
        hour = next(iter(told.values())).hour
        deliver(singles, heard, hour)
        deliver(group, reversed(heard), hour)


@given(visits=hours_of_visits())
def test_a_state_that_went_through_json_is_the_same_to_the_last_bit(visits):
    said = []
    beliefs, agents = crew(Airport, said)
    for told, heard in visits:
        for agent, observation in told.items():
            agents[agent].step(observation)
        deliver(agents, heard, next(iter(told.values())).hour)
    copies, others = crew(Airport, [])
    for agent, other in zip(agents, others, strict=True):
        other.set_state(json.loads(json.dumps(agent.get_state(), allow_nan=False)))
        assert other.get_state() == agent.get_state()
    assert bits(copies) == bits(beliefs)


def test_a_state_adds_up_what_the_agent_was_told():
    _, (agent, *_) = crew(Airport, [])
    agent.step(seen(1, [10, -3, 7], cancelled=2, diverted=1))
    agent.step(seen(5, [30], diverted=1))
    state = agent.get_state()
    totals = {name: state[name] for name in ("flights", "delay_minutes", "cancelled", "diverted")}
    assert totals == {"flights": 4, "delay_minutes": 44, "cancelled": 2, "diverted": 2}


def test_a_state_does_not_change_with_the_agent():
    _, (agent, *_) = crew(Airport, [])
    agent.receive(Congestion("XYZ", 1, 20))
    before = agent.get_state()
    kept = json.dumps(before)
    agent.step(seen(2, [10]))
    agent.receive(Congestion("XYZ", 2, 30))
    assert json.dumps(before) == kept


def test_an_agent_that_knows_nothing_expects_the_usual_delay():
    _, (agent, *_) = crew(Aircraft, [])
    assert agent.step(seen(0)) == (USUAL_DELAY, 0.0, 0.0)


def test_the_usual_delay_is_learnt_by_hour_of_the_day():
    _, (agent, *_) = crew(Aircraft, [])
    agent.step(seen(0, [60] * 200, [18] * 200))
    evening, _, _ = agent.step(seen(1, clock=18))
    morning, _, _ = agent.step(seen(2, clock=6))
    assert evening == pytest.approx(60, abs=2)
    assert morning == pytest.approx(USUAL_DELAY, abs=0.1)


def test_the_excess_fades_with_the_half_life_and_is_forgotten_after_weeks():
    _, (agent, *_) = crew(Aircraft, [])
    agent.step(seen(0, [100]))
    count = agent.get_state()["recent"][0]
    agent.step(seen(int(Aircraft.HALF_LIFE)))
    assert agent.get_state()["recent"][0] == count / 2
    _, excess, _ = agent.step(seen(int(Aircraft.HALF_LIFE) + LONGEST_GAP))
    assert excess == 0.0


def test_airports_tell_of_changes_and_aircraft_keep_silent():
    said = []
    _, (airport, *_) = crew(Airport, said)
    airport.step(seen(0, [USUAL_DELAY + 2] * 3))
    assert said == []
    _, excess, _ = airport.step(seen(1, [200] * 3))
    assert excess > ANNOUNCED_CHANGE
    assert said == [(Congestion("agent 0", 1, round(excess)), "agent 0")]
    airport.step(seen(2, [200] * 3))
    level = round(excess)
    airport.step(seen(10))
    assert said[-1][0].hour == 10
    assert said[-1][0].excess < level
    quiet = []
    _, (aircraft, *_) = crew(Aircraft, quiet)
    aircraft.step(seen(0, [500]))
    assert quiet == []


def test_a_message_counts_from_the_hour_after_it_was_sent():
    _, (agent, *_) = crew(Airport, [])
    agent.receive(Congestion("XYZ", 5, 60))
    _, _, near = agent.step(seen(5))
    assert near == 0.0
    _, _, near = agent.step(seen(6))
    assert near > 0.0
    assert agent.get_state()["heard"] == []


def test_airports_listen_to_those_they_have_routes_with_and_origins_to_each_other():
    timeline = Timeline(
        made(
            line(0, origin="JFK", dest="BOS"),
            line(1, origin="EWR", dest="LAX"),
            line(2, origin="EWR", dest="BOS"),
            line(3, origin="JFK", dest="JFK"),
        )
    )
    fleet = Fleet(timeline, lambda message, topic: None)
    assert [agent.name for agent in fleet.agents] == ["N1", "BOS", "EWR", "JFK", "LAX"]
    assert fleet.routes == {
        "BOS": ["EWR", "JFK"],
        "EWR": ["BOS", "JFK", "LAX"],
        "JFK": ["BOS", "EWR"],
        "LAX": ["EWR"],
    }
