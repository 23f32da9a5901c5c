"""The guide's benchmarks: one suite after another, saved, and compared by the way."""

import pytest

from overdrive.benchmarks.performance_benchmark_suite import PerformanceBenchmarkRunner

SUITES = ["threading", "database", "api", "memory", "agent_coordination"]


@pytest.mark.timeout(300)
async def test_suites_are_run_saved_and_run_again(quick_benchmarks, tmp_path):
    runner = PerformanceBenchmarkRunner()
    results = await runner.run_benchmark_suite("threading")
    for suite_name in SUITES:
        await runner.run_benchmark_suite(suite_name)
    runner.save_results(tmp_path / "baseline_results.json")
    current_results = await runner.run_benchmark_suite("threading")
    assert [one.name for one in current_results] == [one.name for one in results]
    assert len(runner.results.benchmarks) == 15
