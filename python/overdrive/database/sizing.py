"""How many connections a pool should have, as a function of what was seen.

It grows while callers wait, in steps of one half. It stops when growing did not help: if, over a
window of time, the pool became larger but did not finish more, the server is the bottleneck, and
more connections would only make it slower; it goes back and tries again later. It shrinks by one
at a time, and only below what was in use at once over a whole period. Time is an argument, so that
recorded loads can be replayed.
"""

from dataclasses import dataclass

__all__ = ["Sample", "Sizing"]

_HELPFUL = 0.2
"""Which part of the growth in size must show as growth in throughput."""

_FREE = 8
"""Up to this size it grows at once; beyond, it at most doubles before it is judged."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a pool looks like at one time.

    Attributes:
        time: Seconds of some clock.
        size: Connections, those being opened included.
        in_use: Connections in use.
        waiting: Callers that wait.
        longest_wait: How long the first of them has waited.
        finished: How many uses of a connection have ended so far.
    """

    time: float
    size: int
    in_use: int
    waiting: int
    longest_wait: float
    finished: int


class Sizing:
    """Decides on a size, sample by sample.

    Args:
        smallest: Least size.
        largest: Greatest size.
        patience: How long a caller waits before the pool grows.
        window: How long throughput is measured before it is judged.
        hold: How long the size is held after growing did not help; doubles each time, to 64 times.
        period: How long connections must have been superfluous before one is closed.
    """

    def __init__(
        self,
        smallest: int,
        largest: int,
        *,
        patience: float = 0.005,
        window: float = 0.25,
        hold: float = 2.0,
        period: float = 30.0,
    ) -> None:
        self.target = max(smallest, 1)
        self.braking = False
        self._smallest = smallest
        self._largest = largest
        self._patience = patience
        self._window = window
        self._hold = hold
        self._period = period
        self._held_until = float("-inf")
        self._failures = 0
        self._mark: Sample | None = None
        self._before: tuple[int, float] | None = None
        self._peak = 0
        self._last_peak = largest
        self._peak_since: float | None = None
        self._last_shrink = float("-inf")

    def decide(self, sample: Sample) -> int:
        """Take a sample into account and return the size to aim for."""
        self._judge(sample)
        self._shrink(sample)
        if (
            sample.waiting
            and sample.longest_wait >= self._patience
            and sample.size >= self.target
            and sample.time >= self._held_until
        ):
            step = min(max(1, self.target // 2), sample.waiting)
            allowed = max(_FREE, 2 * (self._mark or sample).size)
            self.target = max(self.target, min(self._largest, self.target + step, allowed))
        return self.target

    def _judge(self, sample: Sample) -> None:
        """At the end of a window, see whether it helped that the pool has grown."""
        if sample.waiting == 0:
            # Then throughput says how much is asked for, not how much is possible.
            self._before = self._mark = None
            return
        if self._mark is None:
            self._mark = sample
            return
        seconds = sample.time - self._mark.time
        if seconds < self._window:
            return
        rate = (sample.finished - self._mark.finished) / seconds
        self._mark = sample
        before, self._before = self._before, (sample.size, rate)
        if before is None or sample.size <= before[0]:
            return
        size, previous = before
        self.braking = rate < previous * (1 + _HELPFUL * (sample.size / size - 1))
        if self.braking:
            self._held_until = sample.time + self._hold * 2 ** min(self._failures, 6)
            self._failures += 1
            self.target = max(self._smallest, size)
            self._before = (size, max(rate, previous))
        else:
            self._failures = 0

    def _shrink(self, sample: Sample) -> None:
        if self._peak_since is None:
            self._peak_since = sample.time
        self._peak = max(self._peak, sample.in_use + sample.waiting)
        if sample.time - self._peak_since >= self._period:
            self._last_peak, self._peak = self._peak, sample.in_use
            self._peak_since = sample.time
        enough = max(self._smallest, self._last_peak, self._peak, 1)
        if self.target > enough and sample.time - self._last_shrink >= self._period / 30:
            self.target -= 1
            self._last_shrink = sample.time
