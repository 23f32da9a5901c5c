"""What a benchmark is given: a plan, services, and where to write what it finds."""

from collections.abc import Callable, Sequence
from typing import Any

from overdrive.benchmarks.errors import WrongResultError
from overdrive.benchmarks.measure import Metric, Plan, Way, compare, compare_metrics
from overdrive.benchmarks.results import Comparison, Table
from overdrive.benchmarks.services import Services

__all__ = ["Record"]

Note = Callable[[str], object]


class Record:
    """Collects what one benchmark finds out.

    Args:
        plan: How much to measure.
        services: The servers that benchmarks share.
        note: Told what is being done.
    """

    def __init__(self, plan: Plan, services: Services, note: Note) -> None:
        self.plan = plan
        self.services = services
        self.note = note
        self.comparisons: list[Comparison] = []
        self.tables: list[Table] = []
        self.facts: dict[str, float] = {}

    async def compare(self, what: str, *ways: Way, **options: Any) -> Comparison:
        """Measure ways in turns and keep what that gives; see `measure.compare`."""
        self.note(what)
        comparison = await compare(what, ways, self.plan, **options)
        self.comparisons.append(comparison)
        return comparison

    async def compare_metrics(self, metrics: Sequence[Metric], *ways: Way) -> list[Comparison]:
        """Measure ways that serve requests in turns; see `measure.compare_metrics`."""
        self.note(metrics[0].what)
        found = await compare_metrics(metrics, ways, self.plan.loads)
        self.comparisons += found
        return found

    def check(self, true: bool, otherwise: str) -> None:
        """Let the benchmark fail unless something is as it should be."""
        if not true:
            raise WrongResultError(otherwise)
