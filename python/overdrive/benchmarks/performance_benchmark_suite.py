"""The runner under another name of its module."""

from overdrive.benchmarks import (
    BenchmarkFailedError,
    BenchmarkResult,
    PerformanceBenchmarkRunner,
    Regression,
)

__all__ = [
    "BenchmarkFailedError",
    "BenchmarkResult",
    "PerformanceBenchmarkRunner",
    "Regression",
]
