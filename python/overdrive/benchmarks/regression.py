"""Whether a run is slower than an earlier one, beyond chance and beyond what matters.

What is compared is not times, because machines differ and so do hours of one machine. It is what
ours took as a share of what the baseline took in the same round. For each comparison the rounds of
both runs are ranked (Mann and Whitney, 1947) after those of the earlier run were made larger by the
smallest change that matters; so chance alone, or a smaller change, raises an alarm in a run with a
probability of at most `alpha`, over all its comparisons together (Holm, 1979).

That is about chance within a run. Two processes can differ for reasons that are no change, such as
where things lie in memory: so an alarm counts when a second run raises it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from overdrive.benchmarks.results import BenchmarkResult, Comparison

__all__ = ["ALPHA", "MINIMUM", "Regression", "find_regressions", "relative_costs"]

ALPHA = 0.05
"""How probable a false alarm in a run may be, at most, before the rerun that has to say so too."""

MINIMUM = 0.03
"""The smallest relative change that is looked for."""

Samples = tuple[Sequence[float], Sequence[float]]
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Regression:
    """One comparison in which ours has become slower.

    Attributes:
        suite: The suite of the benchmark.
        benchmark: Its name.
        what: The comparison.
        before: What ours took as a share of the baseline, the median of the earlier run.
        after: The same of this run.
        p: The probability of so much by chance, corrected for the number of comparisons.
        confirmed: Whether a second run said so too; `None` if there was none.
    """

    suite: str
    benchmark: str
    what: str
    before: float
    after: float
    p: float
    confirmed: bool | None = None

    @property
    def change(self) -> float:
        """By how much it is slower; 0.1 is ten percent."""
        return self.after / self.before - 1

    @property
    def message(self) -> str:
        """Say all of it in a line."""
        sure = {None: "not rerun", True: "confirmed by a rerun", False: "not seen in a rerun"}
        return (
            f"{self.suite}/{self.benchmark}, {self.what}: {self.change:+.1%} beside the baseline "
            f"(from {self.before:.3g} to {self.after:.3g} of it, p = {self.p:.2g}, "
            f"{sure[self.confirmed]})"
        )


def find_regressions(
    before: Iterable[BenchmarkResult],
    after: Iterable[BenchmarkResult],
    *,
    minimum: float = MINIMUM,
    alpha: float = ALPHA,
) -> list[Regression]:
    """Compare two runs; what only one of them has is left out.

    Args:
        before: The earlier run.
        after: The later run.
        minimum: The smallest relative change that matters.
        alpha: How probable it may be that anything is found although nothing is so much slower.
    """
    earlier, later = _samples(before), _samples(after)
    both = {key: (earlier[key], later[key]) for key in later if key in earlier}
    chances = _holm({key: _chance(*samples, minimum) for key, samples in both.items()})
    return [
        Regression(*key, float(np.median(earlier[key])), float(np.median(later[key])), p)
        for key, p in chances.items()
        if p <= alpha
    ]


def relative_costs(comparison: Comparison) -> list[float]:
    """Return what ours took as a share of the baseline, for each round."""
    ours, plain = comparison.ours.values, comparison.others[0].values
    if comparison.higher_is_better:
        ours, plain = plain, ours
    return [one / other for one, other in zip(ours, plain, strict=True)]


def _samples(results: Iterable[BenchmarkResult]) -> dict[Key, list[float]]:
    return {
        (result.suite, result.name, comparison.what): relative_costs(comparison)
        for result in results
        for comparison in result.comparisons
    }


def _chance(before: Sequence[float], after: Sequence[float], minimum: float) -> float:
    """Return how probable such samples are if nothing is slower by more than the minimum."""
    raised = np.asarray(before) * (1 + minimum)
    return float(stats.mannwhitneyu(after, raised, alternative="greater").pvalue)


def _holm(chances: dict[Key, float]) -> dict[Key, float]:
    """Correct for the number of tests, so that their order does not matter (Holm, 1979)."""
    corrected, least = {}, 0.0
    for place, key in enumerate(sorted(chances, key=chances.__getitem__)):
        least = max(least, min(1.0, chances[key] * (len(chances) - place)))
        corrected[key] = least
    return corrected
