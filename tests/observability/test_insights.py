"""A planted cause is the first insight; a healthy run has none."""

import math

import pytest

from overdrive.observability import Histogram
from overdrive.observability.insights import Evidence, insights
from overdrive.observability.loops import Block
from overdrive.observability.threads import Crowd

HEALTHY = {
    "cpu_usage": 40.0,
    "memory_usage": 50.0,
    "memory_rss_bytes": 1e8,
    "thread_count": 8.0,
    "context_switches_per_second": 2000.0,
    "gil_contention": 0.3,
    "gc_time_share": 0.01,
    "gc_collections_per_second": 2.0,
    "gc_pause_ms": 3.0,
    "db.size": 10.0,
    "db.in_use": 4.0,
    "db.waiting": 0.0,
}


def durations(*seconds, waited=0.0):
    histogram = Histogram()
    for value in seconds:
        histogram.record(value, waited=waited * value)
    return histogram.snapshot()


def causes(figures=(), **evidence):
    found = insights(Evidence(figures=HEALTHY | dict(figures), **evidence))
    return [insight.cause for insight in found]


FAST = {
    "api": durations(*[0.01] * 100),
    "database": durations(*[0.002] * 100),
    "agents": durations(*[0.001] * 100),
}


def test_a_healthy_run_has_no_insights():
    assert causes(durations=FAST) == []


def test_a_busy_thread_alone_is_healthy():
    alone = {"gil_contention": 1.0, "context_switches_per_second": 100.0}
    assert causes(alone, durations=FAST) == []


def test_nothing_is_said_about_a_lock_that_there_is_not():
    assert causes({"gil_contention": math.nan, "cpu_usage": 60.0}) == []


PLANTED = {
    "gil": {"figures": {"gil_contention": 0.99, "context_switches_per_second": 700.0}},
    "gc": {"figures": {"gc_time_share": 0.5, "gil_contention": 0.9}},
    "pool": {
        "figures": {"db.in_use": 10.0, "db.waiting": 7.0},
        "durations": {"api": durations(*[0.8] * 10)},
    },
    "database": {
        "durations": {"database": durations(*[0.4] * 10), "api": durations(*[0.6] * 10)},
        "statements": {"SELECT slow": 3.9, "SELECT fast": 0.1},
    },
    "event_loop": {
        "blocks": [Block(0.9, "stack", "app.py:7 handler")],
        "durations": {"api": durations(*[0.9] * 10)},
    },
    "lock": {"crowd": Crowd("app.py:9 save", 5.0, 0.9)},
    "queue": {"durations": {"agents": durations(*[0.2] * 50, waited=0.9)}},
    "api": {"durations": {"api": durations(*[0.8] * 10)}},
    "agents": {"durations": {"agents": durations(*[0.8] * 10)}},
    "cpu": {"figures": {"cpu_usage": 97.0}},
    "memory": {"figures": {"memory_usage": 92.0}},
}


@pytest.mark.parametrize("cause", PLANTED)
def test_the_first_insight_names_the_planted_cause(cause):
    assert causes(**PLANTED[cause])[0] == cause


def test_an_insight_names_the_statement_and_its_share():
    [insight, *_] = insights(Evidence(figures=HEALTHY, **PLANTED["database"]))
    assert insight.evidence["statement"] == "'SELECT slow'"
    assert insight.evidence["share_of_time"] == pytest.approx(0.975)
    assert "Slow database queries detected." in str(insight)
    assert "SELECT slow" in str(insight)


def test_an_insight_names_the_place_that_blocked_the_loop():
    [insight, *_] = insights(Evidence(figures=HEALTHY, **PLANTED["event_loop"]))
    assert insight.evidence["at"] == "app.py:7 handler"


def test_an_insight_says_how_much_of_the_longest_was_queue():
    [insight, *_] = insights(Evidence(figures=HEALTHY, **PLANTED["queue"]))
    assert insight.evidence["of_which_queue_ms"] == pytest.approx(180)
    assert insight.evidence["mean_of_longest_ms"] == pytest.approx(200)


def test_a_few_slow_ones_are_not_enough():
    assert causes(durations={"api": durations(*[5.0] * 3)}) == []


def test_the_words_of_the_guide():
    found = insights(Evidence(figures=HEALTHY | {"cpu_usage": 99.0}, **PLANTED["api"]))
    said = [str(insight) for insight in found]
    assert any(
        s.startswith("High CPU usage detected. Consider optimizing CPU-intensive operations.")
        for s in said
    )
    assert any(
        s.startswith("Slow API responses detected. Consider caching or optimization.") for s in said
    )
