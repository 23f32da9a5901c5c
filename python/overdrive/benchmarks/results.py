"""What a benchmark found out, and how it is kept in a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from overdrive.errors import OverdriveError

__all__ = ["BenchmarkResult", "Comparison", "Results", "Role", "Series", "Table"]

Role = Literal["ours", "baseline", "peer"]

FORMAT = 1
"""Of the file; one with another number is refused."""


@dataclass(frozen=True, slots=True)
class Series:
    """What one way took, once a round.

    Attributes:
        name: The way.
        role: Whether it is ours, what a user would write without, or another library.
        values: One value a round; the first value of every series is of the same round.
    """

    name: str
    role: Role
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ways to do the same, measured in turns.

    Attributes:
        what: What is done, and how much of it.
        unit: The unit of all values.
        series: The ways. The first is ours, the second the baseline.
        higher_is_better: Whether more is better, as with requests per second.
    """

    what: str
    unit: str
    series: tuple[Series, ...]
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        """Check that there is something to compare."""
        roles = [one.role for one in self.series]
        if roles[:2] != ["ours", "baseline"]:
            raise ValueError(f"series must begin with ours and the baseline, got {roles}")
        if len({len(one.values) for one in self.series}) != 1 or not self.series[0].values:
            raise ValueError(f"series must be of the same length and not empty: {self.what}")
        if not all(value > 0 for one in self.series for value in one.values):
            raise ValueError(f"values must be positive, or there is no ratio: {self.what}")

    @property
    def ours(self) -> Series:
        """What ours took."""
        return self.series[0]

    @property
    def others(self) -> tuple[Series, ...]:
        """What the baseline and the peers took."""
        return self.series[1:]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures by a size, such as operations per second by number of agents.

    Attributes:
        what: What the figures are.
        unit: Their unit.
        by: What the columns are.
        columns: The sizes.
        rows: The figures of each way, one a column.
    """

    what: str
    unit: str
    by: str
    columns: tuple[float, ...]
    rows: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What one benchmark found out.

    Attributes:
        suite: The suite it is of.
        name: The benchmark.
        seconds: How long it ran.
        error: Why it failed; empty if it did not.
        comparisons: Ours beside others.
        tables: Figures by size.
        facts: What else was counted, such as a hit rate.
    """

    suite: str
    name: str
    seconds: float = 0.0
    error: str = ""
    comparisons: tuple[Comparison, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is nothing to believe here."""
        return bool(self.error)


@dataclass(frozen=True, slots=True)
class Results:
    """What a run found out.

    Attributes:
        environment: Machine, interpreter and versions; see `environment.describe`.
        benchmarks: One result for each benchmark that was run.
    """

    environment: dict[str, Any]
    benchmarks: tuple[BenchmarkResult, ...]

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            OverdriveError: If the file is something else.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise OverdriveError(f"{path} is of format {found['format']}, not {FORMAT}")
            return cls(found["environment"], tuple(map(_benchmark, found["benchmarks"])))
        except (ValueError, KeyError, TypeError) as error:
            raise OverdriveError(f"{path} holds no results of benchmarks: {error!r}") from error


def _benchmark(found: dict[str, Any]) -> BenchmarkResult:
    return BenchmarkResult(
        suite=found["suite"],
        name=found["name"],
        seconds=found["seconds"],
        error=found["error"],
        comparisons=tuple(map(_comparison, found["comparisons"])),
        tables=tuple(map(_table, found["tables"])),
        facts=found["facts"],
    )


def _comparison(found: dict[str, Any]) -> Comparison:
    series = (Series(one["name"], one["role"], tuple(one["values"])) for one in found["series"])
    return Comparison(found["what"], found["unit"], tuple(series), found["higher_is_better"])


def _table(found: dict[str, Any]) -> Table:
    rows = {name: tuple(figures) for name, figures in found["rows"].items()}
    columns: Sequence[float] = found["columns"]
    return Table(found["what"], found["unit"], found["by"], tuple(columns), rows)
