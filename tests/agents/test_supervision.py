"""The policy is a function: the tests give it times and failures and look at what it decides."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overdrive.agents import Backoff, RestartPolicy, Strategy
from overdrive.agents.supervision import FailureHistory, decide

PLAIN = Backoff(first=1.0, factor=2.0, longest=8.0, jitter=0.0)
ERROR = ValueError("no")


def run(policy, times, error=ERROR):
    """Return what is decided about an agent that fails at the given times."""
    history = FailureHistory()
    decisions = []
    for now in times:
        decision, history = decide(policy, history, error, now=now)
        decisions.append(decision)
    return decisions, history


def test_restarts_are_put_off_longer_and_longer():
    policy = RestartPolicy(max_restarts=None, interval=1000.0, backoff=PLAIN)
    decisions, history = run(policy, [0, 10, 20, 30, 40])
    assert [d.delay for d in decisions] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert {d.strategy for d in decisions} == {Strategy.RESTART}
    assert history.failures == 5


def test_an_agent_that_fails_too_often_within_the_interval_is_stopped():
    policy = RestartPolicy(max_restarts=2, interval=60.0, backoff=PLAIN)
    decisions, _ = run(policy, [0, 10, 20])
    assert [d.strategy for d in decisions] == [Strategy.RESTART, Strategy.RESTART, Strategy.STOP]
    assert decisions[-1].reason == "2 restarts within 60 seconds"


def test_restarts_longer_ago_than_the_interval_are_forgotten():
    policy = RestartPolicy(max_restarts=1, interval=60.0, backoff=PLAIN)
    decisions, history = run(policy, [0, 61, 122])
    assert [d.delay for d in decisions] == [1.0, 1.0, 1.0]
    assert history == FailureHistory(3, (123.0,))


def test_no_restart_is_granted_if_none_is_allowed():
    decisions, _ = run(RestartPolicy(max_restarts=0), [0])
    assert decisions[0].strategy is Strategy.STOP


def test_an_agent_that_is_resumed_never_comes_to_a_limit():
    policy = RestartPolicy(strategy=Strategy.RESUME, max_restarts=1)
    decisions, history = run(policy, range(100))
    assert {(d.strategy, d.delay) for d in decisions} == {(Strategy.RESUME, 0.0)}
    assert history == FailureHistory(100, ())


def test_the_strategy_may_be_to_stop_at_once():
    decisions, _ = run(RestartPolicy(strategy=Strategy.STOP), [0])
    assert decisions[0].strategy is Strategy.STOP


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_fatal_error_stops_an_agent_whatever_the_strategy(strategy):
    policy = RestartPolicy(strategy=strategy, fatal=(MemoryError, OSError))
    decisions, _ = run(policy, [0], FileNotFoundError())
    assert decisions[0].strategy is Strategy.STOP
    assert decisions[0].reason


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_restarts", -1), ("interval", 0.0), ("interval", float("nan")), ("strategy", "restart")],
)
def test_a_policy_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option} must be .*, got {value!r}"):
        RestartPolicy(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("first", -1.0),
        ("first", float("inf")),
        ("factor", 0.5),
        ("longest", 0.01),
        ("longest", float("inf")),
        ("jitter", 1.5),
        ("jitter", float("nan")),
    ],
)
def test_a_backoff_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option} must be .*, got {value!r}"):
        Backoff(**{option: value})


@given(
    failures=st.integers(1, 10**9),
    chance=st.floats(0, 1),
    jitter=st.floats(0, 1),
    first=st.sampled_from([0.0, 1e-300, 0.05, 1.0]),
    factor=st.sampled_from([1.0, 1.0001, 2.0, 1e300]),
)
def test_a_delay_is_never_longer_than_the_longest_and_loses_at_most_the_jitter(
    failures, chance, jitter, first, factor
):
    backoff = Backoff(first=first, factor=factor, longest=5.0, jitter=jitter)
    full = dataclasses.replace(backoff, jitter=0.0).delay(failures, chance)
    assert first <= full <= 5.0
    assert full * (1 - jitter) <= backoff.delay(failures, chance) <= full
    assert full <= dataclasses.replace(backoff, jitter=0.0).delay(failures + 1, chance)


@given(
    pauses=st.lists(st.floats(0, 100), max_size=40),
    max_restarts=st.integers(0, 5),
    interval=st.floats(0.1, 200),
)
def test_no_interval_ever_sees_more_restarts_than_are_allowed(pauses, max_restarts, interval):
    policy = RestartPolicy(max_restarts=max_restarts, interval=interval, backoff=PLAIN)
    now, history, restarted = 0.0, FailureHistory(), []
    for pause in pauses:
        now += pause
        decision, history = decide(policy, history, ERROR, now=now)
        if decision.strategy is Strategy.STOP:
            break
        restarted.append(now + decision.delay)
        now = restarted[-1]
    for begin in restarted:
        assert sum(begin <= then < begin + interval * (1 - 1e-9) for then in restarted) <= max(
            max_restarts, 0
        )
