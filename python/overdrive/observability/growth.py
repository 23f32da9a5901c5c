"""Whether a series of figures grows, robustly, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

__all__ = ["LEAST_SAMPLES", "Trend", "trend"]

LEAST_SAMPLES = 8
"""Fewer say nothing."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series of figures goes.

    Attributes:
        slope: Growth per second on average.
        growth: Growth from the first to the last, robust against single outliers.
        confidence: How unlikely it is, from 0 to 1, that the series goes up by chance (Mann 1945).
        steady: Whether it grows to the end: a series that levels off does not.
    """

    slope: float
    growth: float
    confidence: float
    steady: bool


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Judge a series. Takes time in the square of its length.

    Growth is judged from sample to sample, whatever the time between them: a machine that slows
    down does not make a leak smaller.

    Args:
        times: When the samples were taken, in seconds.
        values: The samples.

    Raises:
        ValueError: If times and values are not equally many.
    """
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times do not go with {len(values)} values")
    if len(values) < LEAST_SAMPLES:
        return Trend(0.0, 0.0, 0.0, steady=False)
    growth = _step(values) * (len(values) - 1)
    seconds = times[-1] - times[0]
    return Trend(
        slope=growth / seconds if seconds > 0 else 0.0,
        growth=growth,
        confidence=_confidence(list(values)),
        steady=_is_steady(values),
    )


def _step(values: Sequence[float]) -> float:
    """Return the growth from one sample to the next, the median over all pairs (Sen 1968)."""
    pairs = combinations(enumerate(values), 2)
    return median((after - before) / (j - i) for (i, before), (j, after) in pairs)


def _confidence(values: Sequence[float]) -> float:
    """Compute the one-sided Mann-Kendall test with the correction for ties."""
    n = len(values)
    score = sum((y > x) - (y < x) for x, y in combinations(values, 2))
    ties = [values.count(value) for value in set(values)]
    spread = n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    if score <= 0 or spread <= 0:
        return 0.0
    z = (score - 1) / math.sqrt(spread / 18)
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def _is_steady(values: Sequence[float]) -> bool:
    """Compare the first and the last third: what warms up or fills up slows down."""
    third = len(values) // 3
    first, last = _step(values[: third + 1]), _step(values[-third - 1 :])
    return last > 0 and last >= first / 2
