"""Times of several ways to do the same, taken in turns so that noise meets all of them alike."""

import gc
import statistics
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "interleaved", "loops"]

ROUNDS = 41

Way = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: how we do beside something else.

    Attributes:
        what: What is measured.
        ours: What it takes us, in `unit`.
        against: The name of what is compared with.
        theirs: What it takes that, in `unit`.
        target: What `ours / theirs` should not exceed; `None` if there is no target.
        unit: The unit of both.
    """

    what: str
    ours: float
    against: str
    theirs: float
    target: float | None = None
    unit: str = "ns"

    @property
    def ratio(self) -> float:
        """Our share of what the other takes."""
        return self.ours / self.theirs


def interleaved(ways: Mapping[str, Way], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds that each way takes, all run once in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(timeit.default_timer())
                way()
                seconds[name][-1] = timeit.default_timer() - seconds[name][-1]
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in seconds.items()}


def loops(
    statements: Mapping[str, str], names: Mapping[str, Any], over: list[Any], times: int = 10
) -> dict[str, float]:
    """Return the nanoseconds that each statement takes, run for each `k` of a list.

    What the empty loop takes is subtracted: it is no part of any of them.
    """
    scope = {"over": over, "repeat": range(times), **names}
    ways = {
        name: _compiled(statement, scope)
        for name, statement in {"empty": "pass", **statements}.items()
    }
    medians = interleaved(ways)
    calls = times * len(over)
    return {name: (medians[name] - medians["empty"]) / calls * 1e9 for name in statements}


def _compiled(statement: str, scope: Mapping[str, Any]) -> Way:
    arguments = ", ".join(scope)
    loop = f"  for _ in repeat:\n   for k in over: {statement}\n"
    source = f"def make({arguments}):\n def way():\n{loop} return way"
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - a statement of ours, with its names as local variables
    way: Way = namespace["make"](**scope)
    return way
