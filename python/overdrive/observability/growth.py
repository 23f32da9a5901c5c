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
        slope: Growth per second, the median of the slopes between any two (Sen 1968).
        growth: What that makes over the time of the series.
        confidence: How unlikely it is, from 0 to 1, that the series goes up by chance (Mann 1945).
        steady: Whether it grows to the end: a series that levels off does not.
    """

    slope: float
    growth: float
    confidence: float
    steady: bool


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Judge a series. Takes time in the square of its length.

    Raises:
        ValueError: If times and values are not equally many.
    """
    points = list(zip(times, values, strict=True))
    if len(points) < LEAST_SAMPLES:
        return Trend(0.0, 0.0, 0.0, steady=False)
    slope = _slope(points)
    return Trend(
        slope=slope,
        growth=slope * (points[-1][0] - points[0][0]),
        confidence=_confidence(list(values)),
        steady=_is_steady(points),
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    slopes = [(y - x) / (t - s) for (s, x), (t, y) in combinations(points, 2) if t > s]
    return median(slopes) if slopes else 0.0


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


def _is_steady(points: Sequence[tuple[float, float]]) -> bool:
    """Compare the first and the last third: what warms up or fills up slows down."""
    third = len(points) // 3
    first, last = _slope(points[: third + 1]), _slope(points[-third - 1 :])
    return last > 0 and last >= first / 2
