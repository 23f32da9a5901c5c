"""`PerformanceBenchmarkRunner`: runs suites, keeps what they find, and watches for regressions."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from overdrive.benchmarks.catalogue import SUITES, Benchmark
from overdrive.benchmarks.environment import describe
from overdrive.benchmarks.errors import BenchmarkFailedError
from overdrive.benchmarks.measure import Plan
from overdrive.benchmarks.record import Record
from overdrive.benchmarks.regression import ALPHA, MINIMUM, Regression, find_regressions
from overdrive.benchmarks.results import BenchmarkResult, Results
from overdrive.benchmarks.services import Services
from overdrive.errors import OptionError

__all__ = ["PerformanceBenchmarkRunner"]

logger = logging.getLogger("overdrive.benchmarks")

Callback = Callable[[Regression], object]
Progress = Callable[[str, str, str], object]


class PerformanceBenchmarkRunner:
    """Runs benchmarks, each beside its baseline, and compares runs.

    Once results are saved or `baseline` is given, every suite that is run is compared with them.
    What is slower is measured a second time; what is slower then too is in `regressions`, is
    logged as a warning, and is given to the callbacks.

    Args:
        plan: How much to measure.
        baseline: A file of `save_results` to compare with.
        minimum: The smallest relative slowdown that is looked for.
        alpha: How probable a false alarm of a suite may be before the rerun, at most.
        progress: Told the suite, the benchmark, and what is being measured.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        baseline: str | os.PathLike[str] | None = None,
        minimum: float = MINIMUM,
        alpha: float = ALPHA,
        progress: Progress | None = None,
    ) -> None:
        self.plan = plan or Plan()
        self.minimum = minimum
        self.alpha = alpha
        self.regressions: list[Regression] = []
        self._progress = progress or (lambda *_: None)
        self._results: dict[tuple[str, str], BenchmarkResult] = {}
        self._callbacks: list[Callback] = []
        self._before = Results.load(Path(baseline)) if baseline is not None else None

    @property
    def results(self) -> Results:
        """What was found out so far; of a benchmark that was run twice, the last."""
        return Results(describe(), tuple(self._results.values()))

    def add_alert_callback(self, callback: Callback) -> None:
        """Have a function called with every confirmed regression."""
        self._callbacks.append(callback)

    def save_results(self, path: str | os.PathLike[str]) -> Path:
        """Write what was found out so far to a JSON file, and compare with it from now on.

        Returns:
            The file.
        """
        self._before = self.results
        self._before.save(Path(path))
        return Path(path)

    async def run_benchmark_suite(self, suite: str) -> list[BenchmarkResult]:
        """Run all benchmarks of a suite.

        Raises:
            OptionError: If there is no such suite.
            BenchmarkFailedError: If a benchmark failed; the others were run, and their results are
                in the exception.
        """
        return await self.run_benchmarks([suite])

    async def run_benchmarks(self, names: Iterable[str]) -> list[BenchmarkResult]:
        """Run suites and single benchmarks, by their names.

        Raises:
            OptionError: If there is no such suite or benchmark.
            BenchmarkFailedError: If a benchmark failed.
        """
        chosen = choose(names)
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(Services())
            found = [await self._run(*one, services) for one in chosen]
            self._results |= {(one.suite, one.name): one for one in found}
            await self._watch(found, services)
        if any(one.failed for one in found):
            raise BenchmarkFailedError(found)
        return found

    async def _run(self, suite: str, name: str, services: Services) -> BenchmarkResult:
        record = Record(self.plan, services, lambda what: self._progress(suite, name, what))
        record.note("")
        began = time.perf_counter()
        error = ""
        try:
            await SUITES[suite][name](record)
        except Exception as failure:
            logger.exception("the benchmark %s failed", name)
            error = f"{type(failure).__name__}: {failure}"
        if not error and not (record.comparisons or record.tables):
            error = "it measured nothing"
        return BenchmarkResult(
            suite=suite,
            name=name,
            seconds=time.perf_counter() - began,
            error=error,
            comparisons=tuple(record.comparisons),
            tables=tuple(record.tables),
            facts=record.facts,
        )

    async def _watch(self, found: list[BenchmarkResult], services: Services) -> None:
        """Compare with the earlier run, and run again what is slower."""
        if self._before is None:
            return
        suspects = self._compare(found)
        again = dict.fromkeys((one.suite, one.benchmark) for one in suspects)
        reruns = [await self._run(*one, services) for one in again]
        # A rerun asks one question for each suspect, and is corrected for so many.
        wanted = {(one.suite, one.benchmark, one.what) for one in suspects}
        seen = {
            (one.suite, one.benchmark, one.what) for one in self._compare(_only(reruns, wanted))
        }
        for one in suspects:
            key = (one.suite, one.benchmark, one.what)
            self.regressions.append(replace(one, confirmed=key in seen))
            if key in seen:
                self._alert(self.regressions[-1])

    def _compare(self, found: list[BenchmarkResult]) -> list[Regression]:
        before = self._before.benchmarks if self._before is not None else ()
        return find_regressions(before, found, minimum=self.minimum, alpha=self.alpha)

    def _alert(self, regression: Regression) -> None:
        logger.warning("regression: %s", regression.message)
        for callback in self._callbacks:
            callback(regression)


def choose(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return suite and name of the benchmarks that names stand for, each once, in their order.

    Raises:
        OptionError: If there is none of a name.
    """
    chosen: dict[tuple[str, str], Benchmark] = {}
    for name in names:
        found = {
            (suite, one): benchmark
            for suite, benchmarks in SUITES.items()
            for one, benchmark in benchmarks.items()
            if name in {suite, one}
        }
        if not found:
            raise OptionError(f"there is no suite or benchmark {name!r}; suites: {_list(SUITES)}")
        chosen |= found
    return list(chosen)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _only(
    results: list[BenchmarkResult], wanted: set[tuple[str, str, str]]
) -> list[BenchmarkResult]:
    return [
        replace(
            result,
            comparisons=tuple(
                one for one in result.comparisons if (result.suite, result.name, one.what) in wanted
            ),
        )
        for result in results
    ]
