"""How long to wait before the next attempt: a pure function of how many there were."""

import math
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that grow by a factor from one attempt to the next, and are shortened by chance.

    What failed together would otherwise be tried again together.

    Attributes:
        first: Seconds before the second attempt, at least 0.
        factor: What each delay is multiplied with for the next, at least 1.
        longest: The longest delay in seconds, at least `first`.
        jitter: The largest fraction by which chance shortens a delay, from 0 to 1.

    Raises:
        ValueError: If an option is out of its range.
    """

    first: float = 0.05
    factor: float = 2.0
    longest: float = 5.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.first < math.inf:
            raise ValueError(f"first must be finite and at least 0, got {self.first!r}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be finite and at least 1, got {self.factor!r}")
        if not self.first <= self.longest < math.inf:
            raise ValueError(
                f"longest must be finite and at least {self.first!r}, got {self.longest!r}"
            )
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be from 0 to 1, got {self.jitter!r}")

    def delay(self, failures: int, chance: float) -> float:
        """Return how many seconds to wait.

        Args:
            failures: How many attempts have failed, at least 1.
            chance: A number from 0 to 1; 0 gives the longest delay.
        """
        return self._full(failures) * (1.0 - self.jitter * chance)

    def _full(self, failures: int) -> float:
        if self.first == 0 or self.factor == 1:
            return self.first
        # Compared as exponents: the power itself may be too large for a float.
        if failures - 1 >= math.log(self.longest / self.first, self.factor):
            return self.longest
        return self.first * self.factor ** (failures - 1)
