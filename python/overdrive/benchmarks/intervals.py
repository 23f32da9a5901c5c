"""How many times one way is better than another, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from overdrive.benchmarks.results import Comparison, Series

__all__ = ["Advantage", "advantage", "advantages"]

CONFIDENCE = 0.95
RESAMPLES = 2000
ENOUGH = 2
"""Rounds from which on there is an interval."""


@dataclass(frozen=True, slots=True)
class Advantage:
    """How many times ours is better than another way; below 1 it is worse.

    Attributes:
        over: The other way.
        ratio: Of the medians.
        low: Lower end of the confidence interval of the ratio.
        high: Its upper end.
    """

    over: Series
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether ours is better, worse, or that cannot be told."""
        if self.low > 1:
            return "better"
        return "worse" if self.high < 1 else "the same within the noise"


def advantages(comparison: Comparison) -> list[Advantage]:
    """Compare ours with each other way."""
    return [advantage(comparison, other) for other in comparison.others]


def advantage(comparison: Comparison, other: Series) -> Advantage:
    """Compare ours with another way by the ratio of medians.

    The interval is a percentile bootstrap (Efron, 1979) that draws rounds, not values: what slowed
    a whole round down slows both ways of it. Its seed is fixed.
    """
    better, worse = comparison.ours.values, other.values
    if comparison.higher_is_better:
        better, worse = worse, better
    ratio = float(np.median(worse) / np.median(better))
    if len(better) < ENOUGH:
        return Advantage(other, ratio, ratio, ratio)
    found = stats.bootstrap(
        (np.asarray(worse), np.asarray(better)),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Advantage(other, ratio, float(found.low), float(found.high))


def _ratio(numerator: object, denominator: object, axis: int = -1) -> object:
    return np.median(numerator, axis=axis) / np.median(denominator, axis=axis)  # type: ignore[call-overload]
