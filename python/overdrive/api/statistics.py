"""What the middleware counts and how long requests take.

Every thread counts for itself, so that counting needs no lock and loses nothing; reading adds up.
Counts are of the whole life of the middleware; rates are made when read.
"""

import threading
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "ApiStats",
    "CacheStats",
    "CompressionStats",
    "Counters",
    "DeduplicationStats",
    "Recorder",
    "RequestStats",
    "Tally",
]

_SUB_BUCKETS = 16
_BUCKETS = 64 * _SUB_BUCKETS


@dataclass(frozen=True, slots=True)
class RequestStats:
    """Requests answered; times in milliseconds until the answer began, 0 if there were none."""

    total: int
    errors: int
    active: int
    average_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What became of requests in the cache, and what is in it.

    `hit_rate` is the share of answers from the store, stale ones included, in all requests that
    did not go past the cache.
    """

    hits: int
    misses: int
    stale_hits: int
    revalidations: int
    bypasses: int
    hit_rate: float
    stores: int
    evictions: int
    purged: int
    entries: int
    size_bytes: int
    max_bytes: int
    faults: int
    shared_hits: int
    shared_errors: int


@dataclass(frozen=True, slots=True)
class CompressionStats:
    """Bodies compressed: a stored variant counts when it is made, not when it is sent again."""

    responses: int
    bytes_in: int
    bytes_out: int
    bytes_saved: int
    ratio: float


@dataclass(frozen=True, slots=True)
class DeduplicationStats:
    """Requests that asked the application for others, and those that took their answers."""

    leaders: int
    deduplicated: int
    released: int


@dataclass(frozen=True, slots=True)
class ApiStats:
    """All statistics of the middleware."""

    requests: RequestStats
    cache: CacheStats
    compression: CompressionStats
    deduplication: DeduplicationStats

    def as_dict(self) -> dict[str, Any]:
        """Return them as plain dictionaries."""
        return asdict(self)


class Counters:
    """The counts of one thread."""

    __slots__ = (
        "active",
        "bypasses",
        "bytes_in",
        "bytes_out",
        "compressed",
        "errors",
        "faults",
        "followers",
        "hits",
        "leaders",
        "misses",
        "released",
        "revalidations",
        "shared_errors",
        "shared_hits",
        "stale_hits",
        "stores",
        "time_ns",
        "times",
        "total",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
        self.times: list[int] = [0] * _BUCKETS

    active: int
    bypasses: int
    bytes_in: int
    bytes_out: int
    compressed: int
    errors: int
    faults: int
    followers: int
    hits: int
    leaders: int
    misses: int
    released: int
    revalidations: int
    shared_errors: int
    shared_hits: int
    stale_hits: int
    stores: int
    time_ns: int
    total: int

    def record(self, elapsed_ns: int) -> None:
        """Count one answer that began after so many nanoseconds."""
        self.total += 1
        self.time_ns += elapsed_ns
        shift = elapsed_ns.bit_length() - 5
        self.times[(shift << 4) + (elapsed_ns >> shift) if shift > 0 else elapsed_ns] += 1


class Recorder(threading.local):
    """Gives each thread its own `counters`."""

    def __init__(self, everyone: list[Counters]) -> None:
        # Called again in every thread that looks.
        super().__init__()
        self.counters = Counters()
        everyone.append(self.counters)


class Tally:
    """The counts of all threads together."""

    def __init__(self) -> None:
        self._everyone: list[Counters] = []
        self.recorder = Recorder(self._everyone)

    def sum(self, name: str) -> int:
        """Add one count up over the threads."""
        return sum(getattr(counters, name) for counters in list(self._everyone))

    def percentile_ms(self, share: float) -> float:
        """Return below which time the given share of answers began, to about 3 per cent."""
        times = [
            sum(column) for column in zip(*(c.times for c in list(self._everyone)), strict=True)
        ]
        wanted = share * sum(times)
        seen = 0
        for index, count in enumerate(times):
            seen += count
            if count and seen >= wanted:
                return _upper_bound(index) / 1e6
        return 0.0

    def requests(self) -> RequestStats:
        """Summarise the requests."""
        total = self.sum("total")
        return RequestStats(
            total=total,
            errors=self.sum("errors"),
            active=self.sum("active"),
            average_ms=self.sum("time_ns") / total / 1e6 if total else 0.0,
            p50_ms=self.percentile_ms(0.50),
            p95_ms=self.percentile_ms(0.95),
            p99_ms=self.percentile_ms(0.99),
        )

    def compression(self) -> CompressionStats:
        """Summarise compression."""
        taken, made = self.sum("bytes_in"), self.sum("bytes_out")
        return CompressionStats(
            responses=self.sum("compressed"),
            bytes_in=taken,
            bytes_out=made,
            bytes_saved=taken - made,
            ratio=made / taken if taken else 1.0,
        )

    def deduplication(self) -> DeduplicationStats:
        """Summarise coalescing."""
        return DeduplicationStats(
            leaders=self.sum("leaders"),
            deduplicated=self.sum("followers"),
            released=self.sum("released"),
        )


def _upper_bound(index: int) -> int:
    if index < 2 * _SUB_BUCKETS:
        return index
    shift = index // _SUB_BUCKETS - 1
    return ((index - (shift << 4)) + 1) << shift
