"""Where things are in the report's plots; the template draws them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from overdrive.benchmarks.figures import amount, interval
from overdrive.benchmarks.intervals import advantages
from overdrive.benchmarks.results import BenchmarkResult, Table

__all__ = ["Chart", "Forest", "chart", "forest"]

WIDTH = 960
ROW = 24
AXIS = 20
LEFT, RIGHT = 510, 170
"""What labels take on either side of a forest plot."""

CHART_HEIGHT, CHART_LEFT, CHART_BOTTOM, CHART_RIGHT = 280, 70, 40, 250
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Dot:
    """One ratio with its interval.

    Attributes:
        what: What was measured; empty if the row above says so.
        beside: The other way.
        role: Its role.
        verdict: Of the ratio; a word, for the style.
        y: Where the row is.
        x: Where the ratio is.
        low: Where its interval begins.
        high: Where it ends.
        label: The ratio as text.
        title: All of it as text.
    """

    what: str
    beside: str
    role: str
    verdict: str
    y: float
    x: float
    low: float
    high: float
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Forest:
    """The ratios of a suite, one row each, on a logarithmic scale."""

    width: int
    height: float
    left: int
    right: int
    one: float
    ticks: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]


def forest(results: Sequence[BenchmarkResult]) -> Forest:
    """Lay a suite's ratios out."""
    pairs = [
        (comparison, one)
        for result in results
        for comparison in result.comparisons
        for one in advantages(comparison)
    ]
    least = min([0.5, *(one.low for _, one in pairs)]) * 0.9
    most = max([2.0, *(one.high for _, one in pairs)]) * 1.1
    span = math.log(most / least)

    def x(ratio: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / least) / span, 1)

    dots, last = [], None
    for row, (comparison, one) in enumerate(pairs):
        mine = amount(statistics.median(comparison.ours.values), comparison.unit)
        theirs = amount(statistics.median(one.over.values), comparison.unit)
        dots.append(
            Dot(
                what="" if comparison is last else _shortened(comparison.what, 44),
                beside=_shortened(one.over.name, 30),
                role=one.over.role,
                verdict={"better": "better", "worse": "worse"}.get(one.verdict, "same"),
                y=ROW * (row + 1),
                x=x(one.ratio),
                low=x(one.low),
                high=x(one.high),
                label=interval(one),
                title=f"{comparison.what}: {mine}; {one.over.name}: {theirs}; {interval(one)}",
            )
        )
        last = comparison
    ticks = _sparse([(x(tick), f"{tick:g}x") for tick in TICKS if least <= tick <= most])
    height = ROW * (len(pairs) + 1) + AXIS
    return Forest(WIDTH, height, LEFT, WIDTH - RIGHT, x(1.0), ticks, tuple(dots))


@dataclass(frozen=True, slots=True)
class Line:
    """One way's figures by size."""

    name: str
    number: int
    points: str
    dots: tuple[tuple[float, float, str], ...]
    label_y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures by size, both on logarithmic scales."""

    title: str
    by: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    columns: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


def chart(table: Table) -> Chart:
    """Lay a table out."""
    right, bottom = WIDTH - CHART_RIGHT, CHART_HEIGHT - CHART_BOTTOM
    values = [value for row in table.rows.values() for value in row]
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    first, last = math.log(table.columns[0]), math.log(table.columns[-1])

    def x(column: float) -> float:
        return round(
            CHART_LEFT + (right - CHART_LEFT) * (math.log(column) - first) / (last - first), 1
        )

    def y(value: float) -> float:
        share = (math.log10(value) - powers[0]) / (powers[-1] - powers[0])
        return round(bottom - (bottom - 20) * share, 1)

    ends = _apart([y(row[-1]) for row in table.rows.values()])
    lines = []
    for number, (name, row) in enumerate(table.rows.items()):
        dots = tuple(
            (x(column), y(value), f"{name}, {column:,.0f} {table.by}: {amount(value, table.unit)}")
            for column, value in zip(table.columns, row, strict=True)
        )
        points = " ".join(f"{a},{b}" for a, b, _ in dots)
        lines.append(Line(name, number, points, dots, ends[number]))
    columns = tuple((x(column), f"{column:,.0f}") for column in table.columns)
    ticks = tuple((y(10.0**power), f"{10**power:,}") for power in powers if power >= 0)
    return Chart(
        table.what, table.by, WIDTH, CHART_HEIGHT, CHART_LEFT, right, bottom, columns, ticks,
        tuple(lines),
    )  # fmt: skip


def _sparse(ticks: list[tuple[float, str]], least: float = 40.0) -> tuple[tuple[float, str], ...]:
    """Leave ticks out whose labels would touch, and keep that of 1."""
    kept = [tick for tick in ticks if tick[1] == "1x"]
    for tick in ticks:
        if all(abs(tick[0] - other[0]) >= least for other in kept):
            kept.append(tick)
    return tuple(sorted(kept))


def _apart(places: list[float], least: float = 16.0) -> list[float]:
    """Move labels so that none covers another."""
    moved = dict.fromkeys(range(len(places)), 0.0)
    free = -math.inf
    for i in sorted(moved, key=places.__getitem__):
        moved[i] = free = max(places[i], free + least)
    return [moved[i] for i in range(len(places))]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"
