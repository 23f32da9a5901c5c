"""Print the tables: `python -m figures [PART ...]`."""

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import overdrive
from figures.interleaved import Row

PARTS = sorted(
    path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "interleaved"
)


def main(parts: list[str]) -> int:
    """Print the tables of some parts, by default of all, in the form of the documentation."""
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        print(f"figures: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
    build = "with the GIL" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without the GIL"
    print(
        f"Overdrive {overdrive.__version__}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, CPython {platform.python_version()} ({build}), "
        f"{datetime.now(UTC):%Y-%m-%d}, medians, interleaved\n"
    )
    for part in parts or PARTS:
        print("| what | Overdrive | beside | it takes | ratio | target | |")
        print("| --- | --: | --- | --: | --: | --: | --- |")
        for row in importlib.import_module(f"figures.{part}").rows():
            print(_line(row), flush=True)
        print()
    return 0


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _line(row: Row) -> str:
    target = "" if row.target is None else f"{row.target:.2g}"
    missed = "missed" if row.target is not None and row.ratio > row.target else ""
    return (
        f"| {row.what} | {_number(row.ours)} {row.unit} | {row.against} "
        f"| {_number(row.theirs)} {row.unit} | {row.ratio:.2f} | {target} | {missed} |"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
