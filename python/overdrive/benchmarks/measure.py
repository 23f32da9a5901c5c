"""Ways to do the same, taken in turns, so that what else the machine does meets all alike."""

import gc
import inspect
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overdrive.benchmarks.results import Comparison, Role, Series

__all__ = [
    "Metric",
    "Plan",
    "Way",
    "baseline",
    "compare",
    "compare_metrics",
    "ours",
    "peer",
    "take_turns",
]

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How often each way has its turn.
        quick: Whether to do the least that shows that everything runs.
        seed: Decides the order of the ways within each round, and what is drawn by lot.
    """

    rounds: int = 31
    quick: bool = False
    seed: int = 0

    @property
    def loads(self) -> "Plan":
        """The plan for ways that serve requests for a second or so in each turn."""
        return replace(self, rounds=max(1 if self.quick else 5, self.rounds // 3))

    def size(self, full: int, quick: int) -> int:
        """Choose how much there is to do."""
        return quick if self.quick else full

    @classmethod
    def short(cls) -> "Plan":
        """Return the plan of a quick run."""
        return cls(rounds=5, quick=True)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do something.

    Attributes:
        name: What to call it.
        role: Whether it is ours, the baseline or a peer.
        run: Does it, and may be a coroutine function. What it takes is its time, unless it returns
            a number, which then counts instead.
    """

    name: str
    role: Role
    run: Callable[[], Any]


def ours(name: str, run: Callable[[], Any]) -> Way:
    """Make the way of Overdrive."""
    return Way(name, "ours", run)


def baseline(name: str, run: Callable[[], Any]) -> Way:
    """Make the plain way, which a user would write."""
    return Way(name, "baseline", run)


def peer(name: str, run: Callable[[], Any]) -> Way:
    """Make the way of another library."""
    return Way(name, "peer", run)


@dataclass(frozen=True, slots=True)
class Metric:
    """One of several figures that a way gives in one turn.

    Attributes:
        name: Its key in what the way returns.
        what: What it is.
        unit: Its unit.
        higher_is_better: Whether more is better.
    """

    name: str
    what: str
    unit: str = "s"
    higher_is_better: bool = False


async def compare(
    what: str,
    ways: Sequence[Way],
    plan: Plan,
    *,
    unit: str = "s",
    higher_is_better: bool = False,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Measure ways in turns.

    Args:
        what: What is done.
        ways: Ours, the baseline, and peers, in this order.
        plan: How often.
        unit: The unit of what is measured.
        higher_is_better: Whether more of it is better.
        clock: Where times are read.
    """

    def value(found: Any, seconds: float) -> float:
        return found if isinstance(found, float) else seconds

    taken = await take_turns(ways, plan, clock)
    return _comparison(Metric("", what, unit, higher_is_better), ways, taken, value)


async def compare_metrics(
    metrics: Sequence[Metric], ways: Sequence[Way], plan: Plan
) -> list[Comparison]:
    """Measure ways in turns, each of which returns a mapping of several figures."""

    def value_of(metric: Metric) -> Callable[[Any, float], float]:
        return lambda found, _: float(found[metric.name])

    taken = await take_turns(ways, plan)
    return [_comparison(metric, ways, taken, value_of(metric)) for metric in metrics]


async def take_turns(
    ways: Sequence[Way], plan: Plan, clock: Clock = time.perf_counter
) -> dict[str, list[tuple[Any, float]]]:
    """Run each way once to warm up, and then once a round, in an order drawn by lot.

    Garbage is collected before each round, and as usual within it.

    Returns:
        What each way returned and the seconds it took, by the name of the way.
    """
    taken: dict[str, list[tuple[Any, float]]] = {way.name: [] for way in ways}
    order = list(ways)
    lot = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    for way in ways:
        await _turn(way, clock)
    for _ in range(plan.rounds):
        lot.shuffle(order)
        gc.collect()
        for way in order:
            taken[way.name].append(await _turn(way, clock))
    return taken


async def _turn(way: Way, clock: Clock) -> tuple[Any, float]:
    began = clock()
    found = way.run()
    if inspect.isawaitable(found):
        found = await found
    return found, clock() - began


def _comparison(
    metric: Metric,
    ways: Sequence[Way],
    taken: dict[str, list[tuple[Any, float]]],
    value: Callable[[Any, float], float],
) -> Comparison:
    series = (
        Series(way.name, way.role, tuple(value(*turn) for turn in taken[way.name])) for way in ways
    )
    return Comparison(metric.what, metric.unit, tuple(series), metric.higher_is_better)
