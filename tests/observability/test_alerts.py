"""Alerts are said once, not too early, and not again and again."""

import math

import pytest

from overdrive.observability import Threshold
from overdrive.observability.alerts import HISTORY, AlertBook


def book(**options):
    return AlertBook({"cpu_usage": Threshold(80, 95, **options)})


def said(book, *values):
    """Return what is said about values a second apart."""
    return [
        [(alert.severity, alert.resolved) for alert in book.evaluate(at, {"cpu_usage": value})]
        for at, value in enumerate(values)
    ]


def test_a_figure_has_to_stay_high():
    assert said(book(for_seconds=2), 85, 85, 85, 85) == [[], [], [("warning", False)], []]


def test_a_short_peak_says_nothing():
    assert said(book(for_seconds=2), 85, 85, 10, 85, 85, 10) == [[]] * 6


def test_an_alert_ends_well_below_its_threshold():
    values = (85, 79, 73, 71)
    begin, end = [("warning", False)], [("warning", True)]
    assert said(book(for_seconds=0, hysteresis=0.1), *values) == [begin, [], [], end]


def test_a_figure_that_flaps_around_the_threshold_is_one_alert():
    found = book(for_seconds=0)
    assert sum(map(len, said(found, *[81, 79] * 50))) == 1
    assert len(found.active) == 1


def test_a_warning_becomes_critical_and_a_warning_again():
    assert said(book(for_seconds=0), 85, 96, 84, 10) == [
        [("warning", False)],
        [("critical", False)],
        [("warning", False)],
        [("warning", True)],
    ]


def test_a_critical_figure_is_not_a_warning_too():
    found = book(for_seconds=0)
    assert said(found, 99) == [[("critical", False)]]
    [alert] = found.active
    assert (alert.value, alert.threshold) == (99, 95)
    assert "cpu_usage is 99, above 95 (critical)" in alert.message


@pytest.mark.parametrize("values", [{}, {"cpu_usage": math.nan}])
def test_what_is_not_known_changes_nothing(values):
    found = book(for_seconds=0)
    assert found.evaluate(0, values) == []
    found.evaluate(1, {"cpu_usage": 85})
    assert found.evaluate(2, values) == []
    assert len(found.active) == 1


def test_history_is_bounded():
    found = book(for_seconds=0)
    for at in range(HISTORY):
        found.evaluate(at, {"cpu_usage": 99 if at % 2 else 0})
    assert len(found.history) == HISTORY - 1
    found.evaluate(HISTORY, {"cpu_usage": 0})
    found.evaluate(HISTORY + 1, {"cpu_usage": 99})
    assert len(found.history) == HISTORY


def test_a_new_threshold_begins_anew():
    found = book(for_seconds=0)
    found.evaluate(0, {"cpu_usage": 85})
    found.set_threshold("cpu_usage", Threshold(90, 95, for_seconds=0))
    assert found.active == []
    assert found.evaluate(1, {"cpu_usage": 85}) == []
    found.set_threshold("cpu_usage", None)
    assert found.evaluate(2, {"cpu_usage": 99}) == []


@pytest.mark.parametrize(
    "options",
    [
        {"warning": 2, "critical": 1},
        {"warning": math.nan, "critical": 1},
        {"warning": 1, "critical": 2, "for_seconds": -1},
        {"warning": 1, "critical": 2, "hysteresis": 1},
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="must"):
        Threshold(**options)
