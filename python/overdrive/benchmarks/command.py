"""The command `overdrive bench`."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from overdrive.benchmarks import html, page, terminal
from overdrive.benchmarks.catalogue import SUITES
from overdrive.benchmarks.errors import BenchmarkFailedError
from overdrive.benchmarks.measure import Plan
from overdrive.benchmarks.regression import Regression
from overdrive.benchmarks.results import Results
from overdrive.benchmarks.runner import PerformanceBenchmarkRunner, choose
from overdrive.errors import OptionError, OverdriveError

__all__ = ["Options", "run"]

FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        names: Suites and benchmarks; none for all.
        quick: Whether to do the least that shows that everything runs.
        compare: Results of an earlier run.
        read: Show these results instead of measuring.
        json_file: Where to write the results.
        html_file: Where to write the report.
        page_file: The page of the documentation to write the results into.
        command: The command line, which the results name.
    """

    names: Sequence[str] = ()
    quick: bool = False
    compare: Path | None = None
    read: Sequence[Path] = ()
    json_file: Path | None = None
    html_file: Path | None = None
    page_file: Path | None = None
    command: str = ""


def run(options: Options, console: Console | None = None) -> int:
    """Measure, or read what was measured, and show it.

    Returns:
        The exit status: 1 if a benchmark failed, or became slower and a rerun confirmed it.
    """
    console = console or Console()
    results, regressions = (_read(options), []) if options.read else _measure(options, console)
    terminal.show(console, results)
    if options.compare is not None:
        terminal.show_regressions(console, regressions)
    try:
        _write(options, console, results, regressions)
    except OSError as error:
        raise OverdriveError(f"cannot write {error.filename}: {error.strerror}") from error
    failed = any(one.failed for one in results.benchmarks)
    return FAILED if failed or any(one.confirmed for one in regressions) else 0


def _read(options: Options) -> Results:
    if options.names or options.compare is not None:
        raise OptionError("--read shows what was measured: leave out names and --compare")
    found = [Results.load(path) for path in options.read]
    by_name = {(one.suite, one.name): one for results in found for one in results.benchmarks}
    commands = dict.fromkeys(results.environment["command"] for results in found)
    environment = found[-1].environment | {"command": "\n$ ".join(filter(None, commands))}
    return Results(environment, tuple(by_name.values()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Log no failures: they are shown with the results."""
    logger = logging.getLogger("overdrive")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _measure(options: Options, console: Console) -> tuple[Results, list[Regression]]:
    names = options.names or list(SUITES)
    chosen = choose(names)
    with _quiet(), terminal.progress(console, len(chosen)) as tell:
        runner = PerformanceBenchmarkRunner(
            Plan.short() if options.quick else Plan(), baseline=options.compare, progress=tell
        )
        with contextlib.suppress(BenchmarkFailedError):
            asyncio.run(runner.run_benchmarks(names))
    results = runner.results
    results = replace(results, environment=results.environment | {"command": options.command})
    return results, runner.regressions


def _write(
    options: Options, console: Console, results: Results, regressions: list[Regression]
) -> None:
    if options.json_file is not None:
        results.save(options.json_file)
        console.print(f"Results written to {options.json_file}", soft_wrap=True)
    if options.html_file is not None:
        html.write(options.html_file, results, regressions)
        console.print(f"Report written to {options.html_file}", soft_wrap=True)
    if options.page_file is not None:
        page.write(options.page_file, results)
        console.print(f"Page {options.page_file} written", soft_wrap=True)
