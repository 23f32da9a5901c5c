"""Results as a part of a page of the documentation."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from overdrive.benchmarks.claims import check, losses
from overdrive.benchmarks.environment import headline
from overdrive.benchmarks.figures import amount, interval, times
from overdrive.benchmarks.intervals import advantages
from overdrive.benchmarks.results import BenchmarkResult, Results, Table
from overdrive.errors import OptionError

__all__ = ["BEGIN", "END", "render", "write"]

BEGIN = "<!-- measured: begin; written by overdrive bench --page -->"
END = "<!-- measured: end -->"


def write(path: Path, results: Results) -> None:
    """Put results between the marks of a page.

    Raises:
        OptionError: If the page has no marks.
    """
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise OptionError(f"{path} has no lines {BEGIN!r} and {END!r}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}", encoding="utf-8")


def render(results: Results) -> str:
    """Write results as Markdown: where and when, losses, claims, sizes, and all comparisons."""
    environment = results.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    lines = [f"{headline(environment)}; {packages}.", ""]
    if environment["command"]:
        lines += ["```console", f"$ {environment['command']}", "```", ""]
    lines += ["## Where we lose", "", *_losses(results.benchmarks), ""]
    lines += ["## The guide's claims", "", *_claims(results.benchmarks), ""]
    tables = [table for result in results.benchmarks for table in result.tables]
    lines += ["## By size", ""] if tables else []
    for table in tables:
        lines += [*_by_size(table), ""]
    lines += ["## All comparisons", "", *_comparisons(results.benchmarks)]
    return "\n".join(lines) + "\n"


def _losses(results: Sequence[BenchmarkResult]) -> Iterator[str]:
    found = losses(results)
    if not found:
        yield "Nowhere in this run."
        return
    yield "Everywhere in this run that another way was better for sure, the worst first."
    yield ""
    yield "| benchmark | what | better | times as good as it (95 %) |"
    yield "| --- | --- | --- | --: |"
    for result, comparison, one in found:
        yield f"| {result.name} | {comparison.what} | {one.over.name} | {interval(one)} |"


def _claims(results: Sequence[BenchmarkResult]) -> Iterator[str]:
    yield "A claim is reproduced if the whole confidence interval is beyond what it says."
    yield ""
    yield "| about | claimed | that is | measured (95 %) | beside | | |"
    yield "| --- | --- | --: | --: | --- | --- | --- |"
    for one in check(results):
        claim = one.claim
        least = times(claim.least) if claim.benchmark else ""
        measured, beside = "", ""
        if one.measured is not None and one.comparison is not None:
            measured = interval(one.measured)
            beside = f"{one.measured.over.name}: {one.comparison.what}"
        yield (
            f"| {claim.about} | {claim.claimed} | {least} | {measured} | {beside} "
            f"| {one.verdict} | {claim.note} |"
        )


def _by_size(table: Table) -> Iterator[str]:
    yield f"{table.what[0].upper()}{table.what[1:]}:"
    yield ""
    yield f"| {table.by} | " + " | ".join(f"{column:,.0f}" for column in table.columns) + " |"
    yield "| --- |" + " --: |" * len(table.columns)
    for name, row in table.rows.items():
        yield f"| {name} | " + " | ".join(f"{value:,.0f}" for value in row) + " |"


def _comparisons(results: Sequence[BenchmarkResult]) -> Iterator[str]:
    yield "Medians; the last column says how many times better Overdrive is."
    yield ""
    yield "| benchmark | what | Overdrive | beside | it takes | times better (95 %) |"
    yield "| --- | --- | --: | --- | --: | --: |"
    for result in results:
        for comparison in result.comparisons:
            mine = amount(statistics.median(comparison.ours.values), comparison.unit)
            for one in advantages(comparison):
                theirs = amount(statistics.median(one.over.values), comparison.unit)
                yield (
                    f"| {result.name} | {comparison.what} | {mine} | {one.over.name} | {theirs} "
                    f"| {interval(one)} |"
                )
