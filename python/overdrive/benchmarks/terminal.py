"""Results in the terminal."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from overdrive.benchmarks.claims import losses
from overdrive.benchmarks.environment import headline
from overdrive.benchmarks.figures import amount, interval
from overdrive.benchmarks.intervals import advantages
from overdrive.benchmarks.regression import Regression
from overdrive.benchmarks.results import BenchmarkResult, Results
from overdrive.benchmarks.results import Table as Figures
from overdrive.benchmarks.runner import Progress as Told

__all__ = ["progress", "show", "show_regressions"]

STYLES = {"better": "green", "worse": "red", "the same within the noise": "dim"}


@contextmanager
def progress(console: Console, total: int) -> Iterator[Told]:
    """Show what is being measured, and yield what the runner tells it to."""
    columns = (
        TextColumn("{task.fields[benchmark]}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task("", total=total, benchmark="")
        begun: dict[tuple[str, str], None] = {}

        def tell(suite: str, name: str, what: str) -> None:
            begun[suite, name] = None
            bars.update(bar, completed=len(begun) - 1, description=what, benchmark=name)

        yield tell


def show(console: Console, results: Results) -> None:
    """Show all comparisons, the tables by size, what failed, and where others are better."""
    console.print(headline(results.environment), soft_wrap=True)
    console.print("Medians; how many times better Overdrive is than each other way (95 %).")
    for result in results.benchmarks:
        if result.comparisons:
            console.print(_comparisons(result))
        for figures in result.tables:
            console.print(_by_size(figures))
    _show_losses(console, results.benchmarks)
    for result in results.benchmarks:
        if result.failed:
            console.print(f"[red]failed[/] {result.suite}/{result.name}: {result.error}")


def show_regressions(console: Console, regressions: Sequence[Regression]) -> None:
    """Show what became slower."""
    if not regressions:
        console.print("Compared with the earlier run: nothing became slower.")
    for one in regressions:
        console.print(f"[{'red' if one.confirmed else 'yellow'}]slower[/] {one.message}")


def _comparisons(result: BenchmarkResult) -> Table:
    table = Table(title=result.name, title_justify="left", title_style="bold", box=None)
    table.show_header, table.expand = False, True
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True, min_width=14)
    table.add_column(justify="right", no_wrap=True, min_width=24)
    for comparison in result.comparisons:
        mine = amount(statistics.median(comparison.ours.values), comparison.unit)
        table.add_row(comparison.what, mine)
        for one in advantages(comparison):
            theirs = amount(statistics.median(one.over.values), comparison.unit)
            ratio = f"[{STYLES[one.verdict]}]{interval(one)}[/]"
            table.add_row(f"[dim]  {one.over.name}[/]", f"[dim]{theirs}[/]", ratio)
    return table


def _by_size(figures: Figures) -> Table:
    table = Table(title=figures.what, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(figures.by)
    for column in figures.columns:
        table.add_column(f"{column:,.0f}", justify="right")
    for name, row in figures.rows.items():
        table.add_row(name, *(f"{value:,.0f}" for value in row))
    return table


def _show_losses(console: Console, results: Sequence[BenchmarkResult]) -> None:
    found = losses(results)
    if found:
        console.print("Where another way is better:")
    for result, comparison, one in found:
        console.print(
            f"  {result.name}, {comparison.what}: {one.over.name}, {interval(one)}", highlight=False
        )
