"""Results as one page of HTML that needs nothing else."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from overdrive.benchmarks.claims import check, losses
from overdrive.benchmarks.environment import headline
from overdrive.benchmarks.figures import interval
from overdrive.benchmarks.plots import Chart, Forest, chart, forest
from overdrive.benchmarks.regression import Regression
from overdrive.benchmarks.results import BenchmarkResult, Results

__all__ = ["render", "write"]


def write(path: Path, results: Results, regressions: Sequence[Regression] = ()) -> None:
    """Write the report to a file."""
    path.write_text(render(results, regressions), encoding="utf-8")


def render(results: Results, regressions: Sequence[Regression] = ()) -> str:
    """Write the report, for light and dark."""
    environment = Environment(
        loader=PackageLoader("overdrive.benchmarks", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        environment=results.environment,
        headline=headline(results.environment),
        failed=[one for one in results.benchmarks if one.failed],
        regressions=regressions,
        losses=losses(results.benchmarks),
        suites=list(_suites(results.benchmarks)),
        findings=check(results.benchmarks),
        interval=interval,
    )


def _suites(results: Sequence[BenchmarkResult]) -> Iterator[tuple[str, Forest, list[Chart]]]:
    for suite in dict.fromkeys(result.suite for result in results):
        members = [one for one in results if one.suite == suite and one.comparisons]
        if members:
            tables = [chart(table) for one in members for table in one.tables]
            yield suite, forest(members), tables
