"""The runner runs what it is told, says what failed, and watches for regressions."""

import asyncio
import logging

import pytest

from overdrive.benchmarks import BenchmarkFailedError, Plan, Results, runner
from overdrive.benchmarks.catalogue import SUITES
from overdrive.benchmarks.measure import baseline, ours
from overdrive.benchmarks.performance_benchmark_suite import PerformanceBenchmarkRunner
from overdrive.errors import OptionError

GUIDE = {
    "threading": ["thread_pool_scaling", "work_stealing_efficiency", "lock_contention"],
    "database": ["connection_pooling", "query_caching", "batch_operations"],
    "api": ["response_caching", "compression", "concurrent_requests"],
    "memory": ["memory_pooling", "gc_tuning", "leak_detection"],
    "agent_coordination": ["agent_batching", "state_synchronization", "message_passing"],
    "system": ["full_system_load", "scalability_test", "stress_test"],
}
ONCE = Plan(rounds=1, quick=True)


def run(runner, *names):
    return asyncio.run(runner.run_benchmarks(names))


def test_the_suites_and_all_eighteen_names_are_there():
    found = {suite: list(benchmarks) for suite, benchmarks in SUITES.items()}
    assert found == GUIDE | {"end_to_end": ["flight_replay"]}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for benchmarks in SUITES.values() for name in benchmarks])
def test_every_benchmark_does_what_it_names_beside_its_baseline(name):
    told = []
    (result,) = run(
        PerformanceBenchmarkRunner(ONCE, progress=lambda *what: told.append(what)), name
    )
    assert (result.name, result.error) == (name, "")
    assert result.comparisons
    for comparison in result.comparisons:
        assert [one.role for one in comparison.series[:2]] == ["ours", "baseline"]
    assert {(suite, one) for suite, one, _ in told} == {(result.suite, name)}


def test_the_scalability_test_has_the_sizes_of_the_guide():
    (result,) = run(PerformanceBenchmarkRunner(ONCE), "scalability_test")
    assert [table.columns for table in result.tables] == [
        (10.0, 50.0, 100.0, 500.0, 1000.0),
        (1.0, 10.0, 50.0, 100.0, 200.0),
    ]
    for table in result.tables:
        assert all(len(row) == 5 for row in table.rows.values())


@pytest.mark.parametrize("name", ["", "thread", "Threading"])
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(OptionError, match=r"no suite or benchmark .* threading, database"):
        run(PerformanceBenchmarkRunner(ONCE), name)


def with_suite(monkeypatch, **benchmarks):
    monkeypatch.setattr(runner, "SUITES", {"threading": benchmarks})


async def sound(record):
    await record.compare("work", ours("us", lambda: 1.0), baseline("plain", lambda: 2.0))


async def broken(_):
    raise ZeroDivisionError("division by zero")


async def empty(_):
    pass


async def wrong(record):
    record.check(False, "rows are lost")


def test_a_benchmark_that_fails_says_so_and_fails_the_run(monkeypatch, caplog):
    with_suite(monkeypatch, sound=sound, broken=broken, empty=empty, wrong=wrong)
    made = PerformanceBenchmarkRunner(ONCE)
    with pytest.raises(BenchmarkFailedError, match="3 of 4 failed") as caught:
        asyncio.run(made.run_benchmark_suite("threading"))
    errors = {one.name: one.error for one in caught.value.results}
    assert errors == {
        "sound": "",
        "broken": "ZeroDivisionError: division by zero",
        "empty": "it measured nothing",
        "wrong": "WrongResultError: rows are lost",
    }
    assert made.results.benchmarks == caught.value.results
    assert "the benchmark broken failed" in caplog.text


class Work:
    """Says that it took what it is told, with a little noise."""

    def __init__(self, amount):
        self.amount = amount
        self.runs = 0

    async def __call__(self, record):
        self.runs += 1
        amount = self.amount(self.runs) if callable(self.amount) else self.amount
        values = iter(range(1000))

        def steady(cost):
            return lambda: cost * (1 + (next(values) * 37 % 11) / 1000)

        await record.compare("work", ours("us", steady(amount)), baseline("plain", steady(1.0)))


def compared(monkeypatch, tmp_path, amount):
    """Save a run, make the work dearer, and run again."""
    work = Work(1.0)
    with_suite(monkeypatch, work=work)
    made = PerformanceBenchmarkRunner(Plan(rounds=31))
    told = []
    made.add_alert_callback(told.append)
    asyncio.run(made.run_benchmark_suite("threading"))
    made.save_results(tmp_path / "baseline_results.json")
    work.amount, work.runs = amount, 0
    asyncio.run(made.run_benchmark_suite("threading"))
    return made, told, work


def test_a_regression_that_a_rerun_confirms_is_logged_and_told(monkeypatch, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "overdrive.benchmarks"):
        made, told, work = compared(monkeypatch, tmp_path, 1.1)
    (found,) = made.regressions
    assert found.confirmed
    assert found.change == pytest.approx(0.1, abs=0.02)
    assert told == [found]
    assert work.runs == 2
    assert "confirmed by a rerun" in caplog.text


def test_a_slowdown_that_a_rerun_does_not_see_raises_no_alarm(monkeypatch, tmp_path, caplog):
    made, told, work = compared(monkeypatch, tmp_path, lambda run: 1.3 if run == 1 else 1.0)
    assert [one.confirmed for one in made.regressions] == [False]
    assert told == []
    assert work.runs == 2
    assert "regression" not in caplog.text


def test_the_same_work_is_neither_an_alarm_nor_run_again(monkeypatch, tmp_path):
    made, told, work = compared(monkeypatch, tmp_path, 1.0)
    assert (made.regressions, told, work.runs) == ([], [], 1)


def test_a_run_is_compared_with_a_file_of_an_earlier_process(monkeypatch, tmp_path):
    work = Work(1.0)
    with_suite(monkeypatch, work=work)
    first = PerformanceBenchmarkRunner(Plan(rounds=31))
    run(first, "work")
    path = first.save_results(tmp_path / "before.json")
    assert Results.load(path).benchmarks == first.results.benchmarks
    work.amount = 1.2
    later = PerformanceBenchmarkRunner(Plan(rounds=31), baseline=path)
    run(later, "work")
    assert [one.confirmed for one in later.regressions] == [True]


def test_results_say_where_they_were_made():
    environment = PerformanceBenchmarkRunner().results.environment
    assert environment["processors"] >= environment["usable_processors"] >= 1
    assert {"overdrive", "date", "machine", "python", "gil", "packages"} <= set(environment)
    assert environment["machine"]
