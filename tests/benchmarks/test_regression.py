"""An injected slowdown is found, and runs of the same code raise no more alarms than is said."""

import asyncio
import hashlib
import time

import numpy as np
import pytest

from overdrive.benchmarks import BenchmarkResult, Comparison, Plan, Series, find_regressions
from overdrive.benchmarks.measure import baseline, compare, ours
from overdrive.benchmarks.regression import ALPHA, MINIMUM, relative_costs

COMPARISONS = 40
ROUNDS = Plan().rounds


def run_of(draw, slower=()):
    """Make a run of many comparisons with the noise of a shared machine.

    Whole rounds are slow, for both ways; each value has noise of its own; some are outliers.
    """
    results = []
    for number in range(COMPARISONS):
        machine = draw.lognormal(0, 0.5, ROUNDS)
        noise = draw.lognormal(0, 0.03, (2, ROUNDS))
        noise[draw.random((2, ROUNDS)) < 0.03] *= 3
        mine, plain = machine * noise
        if number in slower:
            mine = mine * slower[number]
        series = (Series("us", "ours", tuple(mine)), Series("plain", "baseline", tuple(2 * plain)))
        comparison = Comparison(f"work {number}", "s", series)
        results.append(BenchmarkResult(suite="suite", name="bench", comparisons=(comparison,)))
    return results


def test_runs_of_the_same_code_raise_no_more_alarms_than_is_said():
    draw = np.random.default_rng(11)
    runs, alpha = 200, 0.05
    alarms = sum(
        bool(find_regressions(run_of(draw), run_of(draw), minimum=0.0, alpha=alpha))
        for _ in range(runs)
    )
    # So many or more have a probability below 1 in 1000 if the rate is what is said.
    assert alarms <= 20
    uncorrected = sum(
        bool(find_regressions(run_of(draw)[:1], run_of(draw)[:1], minimum=0.0, alpha=alpha))
        for _ in range(400)
    )
    # One test alone uses its rate up: the simulation is not too quiet to raise any alarm.
    assert 5 <= uncorrected <= 40


def test_with_the_settings_that_are_used_the_same_code_raises_hardly_any():
    draw = np.random.default_rng(12)
    alarms = sum(bool(find_regressions(run_of(draw), run_of(draw))) for _ in range(100))
    assert alarms <= 1


def test_a_slowdown_of_ten_percent_is_found_among_many_comparisons():
    draw = np.random.default_rng(13)
    runs, found = 50, 0
    for _ in range(runs):
        regressions = find_regressions(run_of(draw), run_of(draw, slower={7: 1.10}))
        assert {one.what for one in regressions} <= {"work 7"}
        found += bool(regressions)
    assert found >= 0.9 * runs


def test_a_slowdown_smaller_than_what_matters_is_not_called_one():
    draw = np.random.default_rng(14)
    everywhere = dict.fromkeys(range(COMPARISONS), 1 + MINIMUM / 2)
    found = [find_regressions(run_of(draw), run_of(draw, everywhere)) for _ in range(50)]
    assert sum(map(bool, found)) <= 2
    # Asked for any change at all, it is found in some.
    found = [find_regressions(run_of(draw), run_of(draw, everywhere), minimum=0.0) for _ in found]
    assert sum(map(bool, found)) >= 10


def test_a_regression_says_what_became_slower_and_by_how_much():
    draw = np.random.default_rng(15)
    (one,) = find_regressions(run_of(draw), run_of(draw, slower={3: 1.5}))
    assert (one.suite, one.benchmark, one.what) == ("suite", "bench", "work 3")
    assert one.change == pytest.approx(0.5, abs=0.05)
    assert one.p <= ALPHA
    assert "+5" in one.message or "+4" in one.message
    assert "not rerun" in one.message


def test_less_work_a_second_is_a_regression_too():
    def result(mine):
        series = (
            Series("us", "ours", tuple(mine + i / 100 for i in range(ROUNDS))),
            Series("plain", "baseline", (1.0,) * ROUNDS),
        )
        comparison = Comparison("requests", "1/s", series, higher_is_better=True)
        return BenchmarkResult(suite="s", name="n", comparisons=(comparison,))

    assert find_regressions([result(10.0)], [result(8.0)])
    assert not find_regressions([result(8.0)], [result(10.0)])


def test_what_only_one_run_has_is_left_out():
    draw = np.random.default_rng(16)
    run = run_of(draw)
    assert not find_regressions([], run)
    assert not find_regressions(run, [])
    # It does not count among the comparisons that are corrected for either.
    (alone,) = find_regressions(run[:1], run_of(draw, {0: 1.5}))
    assert alone.p < 1e-5


def digests(work):
    block = b"overdrive" * 1000
    for _ in range(work):
        hashlib.sha256(block).digest()


@pytest.mark.timeout(120)
def test_ten_percent_more_of_real_work_is_found_and_the_same_work_is_not():
    """Hash in turns; the clock is the processor time of the thread, which others do not use."""

    def measured(work):
        ways = [ours("us", lambda: digests(work)), baseline("plain", lambda: digests(200))]
        plan = Plan(rounds=41)
        found = asyncio.run(compare("hashes", ways, plan, clock=time.thread_time))
        return [BenchmarkResult(suite="s", name="n", comparisons=(found,))]

    before = measured(200)
    assert np.median(relative_costs(before[0].comparisons[0])) == pytest.approx(1.0, abs=0.1)
    assert not find_regressions(before, measured(200))
    (found,) = find_regressions(before, measured(220))
    assert found.change == pytest.approx(0.1, abs=0.05)
