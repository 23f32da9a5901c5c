"""Durations, counted in buckets that grow by a fixed ratio."""

import math

__all__ = ["Histogram", "bucket_of"]

_PER_OCTAVE = 8
_LEAST = 1e-9
_LEAST_BUCKET = math.floor(math.log2(_LEAST) * _PER_OCTAVE)


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket of a duration."""
    return math.floor(math.log2(seconds) * _PER_OCTAVE) if seconds > _LEAST else _LEAST_BUCKET


class Histogram:
    """Counts durations; a percentile is right to about one part in eleven.

    Not safe under threads: an event loop owns it.
    """

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.add_to_bucket(bucket_of(seconds), seconds)

    def add_to_bucket(self, bucket: int, seconds: float) -> None:
        """Count a duration whose bucket is known."""
        self.count += 1
        self.total += seconds
        self.largest = max(self.largest, seconds)
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1

    @property
    def mean(self) -> float:
        """The mean in seconds; 0 before the first duration."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many per cent do not exceed; 0 if there is none."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return float(min(2 ** ((bucket + 0.5) / _PER_OCTAVE), self.largest))
        return 0.0

    def summary(self) -> dict[str, float]:
        """Return count, mean and percentiles; milliseconds."""
        named = {f"p{p}_ms": self.percentile(p) * 1e3 for p in (50, 95, 99)}
        return {"count": self.count, "mean_ms": self.mean * 1e3, **named,
                "max_ms": self.largest * 1e3}  # fmt: skip
