"""What goes wrong in a benchmark."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from overdrive.errors import OverdriveError

if TYPE_CHECKING:
    from overdrive.benchmarks.results import BenchmarkResult

__all__ = ["BenchmarkFailedError", "WrongResultError"]


class WrongResultError(OverdriveError):
    """A benchmark's subject did something else than it should, so its time means nothing."""


class BenchmarkFailedError(OverdriveError):
    """Benchmarks failed.

    Attributes:
        results: What all of the run found out, those that failed included.
    """

    def __init__(self, results: Iterable["BenchmarkResult"]) -> None:
        self.results = tuple(results)
        failed = [f"{one.name} ({one.error})" for one in self.results if one.failed]
        super().__init__(f"{len(failed)} of {len(self.results)} failed: {'; '.join(failed)}")
