"""Ways take turns, ratios have intervals, and results survive a file."""

import asyncio
import json
import random

import numpy as np
import pytest

from overdrive.benchmarks import BenchmarkResult, Comparison, Plan, Results, Series, Table
from overdrive.benchmarks.intervals import advantages
from overdrive.benchmarks.measure import Metric, baseline, compare, compare_metrics, ours, peer
from overdrive.errors import OverdriveError


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def comparison(ours_values, plain_values, **options):
    series = (Series("us", "ours", ours_values), Series("plain", "baseline", plain_values))
    return Comparison("work", "s", series, **options)


def test_every_way_runs_once_a_round_and_once_before():
    log = []
    ways = [make(name, lambda name=name: log.append(name)) for name, make in
            (("a", ours), ("b", baseline), ("c", peer))]  # fmt: skip
    clock = Clock()

    async def measure():
        return await compare("work", ways, Plan(rounds=4), clock=lambda: clock.now + len(log))

    found = asyncio.run(measure())
    assert log[:3] == ["a", "b", "c"]
    assert [sorted(log[i : i + 3]) for i in range(3, 15, 3)] == [["a", "b", "c"]] * 4
    assert [one.values for one in found.series] == [(1.0,) * 4] * 3


def test_the_order_of_the_ways_is_drawn_anew_each_round_and_the_same_for_one_seed():
    def orders(seed):
        log = []
        clock = Clock()

        def way(name):
            def run():
                log.append(name)
                clock.now += 1

            return run

        ways = [ours("a", way("a")), baseline("b", way("b"))]
        asyncio.run(compare("work", ways, Plan(rounds=12, seed=seed), clock=clock))
        return log[2:]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert {tuple(orders(1)[i : i + 2]) for i in range(0, 24, 2)} == {("a", "b"), ("b", "a")}


def test_a_number_that_a_way_returns_counts_instead_of_its_time():
    async def size():
        return 7.0

    ways = [ours("a", size), baseline("b", lambda: 14.0)]
    found = asyncio.run(compare("bytes", ways, Plan(rounds=2), unit="bytes"))
    assert [one.values for one in found.series] == [(7.0, 7.0), (14.0, 14.0)]


def test_several_figures_of_one_turn_become_several_comparisons():
    ways = [ours("a", lambda: {"p50": 1, "p99": 5}), baseline("b", lambda: {"p50": 2, "p99": 4})]
    metrics = [Metric("p50", "median"), Metric("p99", "tail")]
    found = asyncio.run(compare_metrics(metrics, ways, Plan(rounds=2)))
    assert [one.what for one in found] == ["median", "tail"]
    assert [advantages(one)[0].ratio for one in found] == [2.0, 0.8]


def test_what_a_way_raises_is_not_taken_for_a_fast_result():
    def fail():
        raise ZeroDivisionError

    ways = [ours("a", fail), baseline("b", lambda: None)]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(compare("work", ways, Plan(rounds=2)))


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ((Series("a", "ours", (1.0,)),), "must begin with ours and the baseline"),
        ((Series("a", "baseline", (1.0,)), Series("b", "ours", (1.0,))), "must begin with ours"),
        ((Series("a", "ours", (1.0,)), Series("b", "baseline", (1.0, 2.0))), "same length"),
        ((Series("a", "ours", ()), Series("b", "baseline", ())), "not empty"),
        ((Series("a", "ours", (0.0,)), Series("b", "baseline", (1.0,))), "must be positive"),
        ((Series("a", "ours", (float("nan"),)), Series("b", "baseline", (1.0,))), "positive"),
    ],
)
def test_what_cannot_be_compared_is_refused(series, message):
    with pytest.raises(ValueError, match=message):
        Comparison("work", "s", series)


@pytest.mark.parametrize("higher", [False, True])
def test_a_ratio_above_one_is_better_whatever_the_unit(higher):
    values = (1.0, 1.0, 1.0), (3.0, 3.0, 3.0)
    found = comparison(*(values[::-1] if higher else values), higher_is_better=higher)
    (advantage,) = advantages(found)
    assert (advantage.ratio, advantage.low, advantage.high) == (3.0, 3.0, 3.0)
    assert advantage.verdict == "better"


def test_what_cannot_be_told_is_called_the_same():
    lot = random.Random(3)
    noise = [tuple(lot.uniform(0.8, 1.2) for _ in range(21)) for _ in range(2)]
    assert advantages(comparison(*noise))[0].verdict == "the same within the noise"


def test_an_interval_has_the_true_ratio_in_it_as_often_as_it_says():
    draw = np.random.default_rng(5)
    hits, runs = 0, 200
    for _ in range(runs):
        # Times of a busy machine: a long tail, and rounds that are slow for both ways.
        slow = draw.lognormal(0, 0.3, 31)
        one, other = (slow * draw.lognormal(0, 0.1, 31) for _ in range(2))
        (found,) = advantages(comparison(tuple(one), tuple(1.5 * other)))
        hits += found.low <= 1.5 <= found.high
    assert 0.90 <= hits / runs <= 0.995


def test_results_survive_a_file(tmp_path):
    result = BenchmarkResult(
        suite="threading",
        name="scaling",
        seconds=1.5,
        comparisons=(comparison((1.0, 2.0), (3.0, 4.0)),),
        tables=(Table("steps", "steps/s", "agents", (10.0, 50.0), {"us": (1.0, 2.0)}),),
        facts={"hit rate": 0.5},
    )
    saved = Results({"python": "3.11"}, (result, BenchmarkResult(suite="s", name="n", error="no")))
    saved.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == saved


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', json.dumps({"format": 99})])
def test_a_file_of_something_else_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(OverdriveError, match=r"results\.json"):
        Results.load(path)
