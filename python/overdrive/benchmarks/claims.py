"""What the guide claims, row by row, and what the benchmarks found of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from overdrive.benchmarks.intervals import Advantage, advantages
from overdrive.benchmarks.results import BenchmarkResult, Comparison

__all__ = ["CLAIMS", "Claim", "Finding", "check", "losses"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, and which comparison is to show it.

    Attributes:
        about: The part it is about.
        claimed: What is claimed.
        least: How many times better that is, at least.
        benchmark: The benchmark that measures it; empty if none does.
        place: Which of its comparisons.
        note: What there is to say, whatever was found.
    """

    about: str
    claimed: str
    least: float = 1.0
    benchmark: str = ""
    place: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a claim.

    Attributes:
        claim: The claim.
        comparison: What was measured; `None` if nothing was.
        measured: How many times better than the baseline; `None` if nothing was measured.
    """

    claim: Claim
    comparison: Comparison | None
    measured: Advantage | None

    @property
    def verdict(self) -> str:
        """Whether the claim holds: all of the interval must be beyond what is claimed."""
        found = self.measured
        if found is None:
            return "not measured"
        if found.low >= self.claim.least:
            return "reproduced"
        if found.ratio >= self.claim.least:
            return "within the noise"
        return "in part" if found.low > 1 else "not reproduced"


_BUSY = "handing over is what costs; a call that computes in Python takes as long in any thread"
_BASE = "beside a connection for each query; beside asyncpg's pool see below"
_CALL = "beside a call for each step"
_SAME = "the states of the agents take the memory, and are the same"

CLAIMS = (
    Claim("threads", "throughput +40 to 60 %", 1.4, "thread_pool_scaling", 0, _BUSY),
    Claim("threads", "idle time of threads -30 to 50 %", 1.4, "work_stealing_efficiency"),
    Claim(
        "threads", "lock contention -25 to 35 %", 1.33, "lock_contention",
        note="with the GIL threads take turns anyway; without it see the registry's page",
    ),
    Claim(
        "threads", "thread efficiency from 45 to 75 %", 1.67, "work_stealing_efficiency",
        note="a thread pool with one queue does not waste so much either",
    ),
    Claim("database", "queries 3 to 5 times as fast", 3.0, "connection_pooling", 0, _BASE),
    Claim("database", "repeated queries 5 to 10 times as fast", 5.0, "query_caching"),
    Claim(
        "database", "prepared statements +20 to 30 %", 1.2, "batch_operations", 2,
        "beside a driver that prepares nothing; asyncpg keeps statements by itself",
    ),
    Claim("database", "query time from 25 to 8 ms", 3.1, "connection_pooling", 0, _BASE),
    Claim("API", "response time -50 to 70 %", 2.0, "response_caching"),
    Claim("API", "bandwidth -60 to 80 %", 2.5, "compression"),
    Claim(
        "API", "responses 40 to 50 % faster by compression", 1.67, "compression", 1,
        "over 10 Mbit/s; within one machine there is nothing to gain",
    ),
    Claim("API", "response time from 200 to 80 ms", 2.5, "response_caching"),
    Claim("API", "from 100 to 350 requests a second", 3.5, "concurrent_requests"),
    Claim("API", "at 200 clients, from 15 to 120 requests a second", 8.0, "scalability_test", 9),
    Claim("memory", "allocations -60 to 80 %", 2.5, "memory_pooling", 1),
    Claim("memory", "cost of allocation -60 to 80 %", 2.5, "memory_pooling", 0),
    Claim("memory", "use from 500 to 200 MB, peak from 1.2 to 0.5 GB", note=_SAME),
    Claim("agents", "coordination +20 to 30 %", 1.2, "message_passing"),
    Claim("agents", "coordination +40 to 60 %", 1.4, "message_passing"),
    Claim("agents", "step from 50 to 20 ms", 2.5, "agent_batching", 0, _CALL),
    Claim("agents", "at 1,000 agents, from 15 to 250 steps a second", 16.7, "scalability_test", 4),
    Claim("system", "throughput 3 to 5 times as high", 3.0, "full_system_load"),
    Claim("system", "response time -50 to 70 %", 2.0, "full_system_load", 1),
    Claim(
        "system", "processor use from 85 to 65 %",
        note="a number of its own says nothing: what is done with the processors does",
    ),
)  # fmt: skip
"""Every number of the guide's tables and lists."""


def check(results: Iterable[BenchmarkResult]) -> list[Finding]:
    """Look for every claim in what was measured; leave out those whose benchmark was not run."""
    by_name = {result.name: result for result in results if not result.failed}
    return [
        _finding(claim, by_name.get(claim.benchmark))
        for claim in CLAIMS
        if not claim.benchmark or claim.benchmark in by_name
    ]


def _finding(claim: Claim, result: BenchmarkResult | None) -> Finding:
    if result is None:
        return Finding(claim, None, None)
    comparison = result.comparisons[claim.place]
    return Finding(claim, comparison, advantages(comparison)[0])


def losses(
    results: Iterable[BenchmarkResult],
) -> list[tuple[BenchmarkResult, Comparison, Advantage]]:
    """Return where ours is worse than the baseline or a peer for sure, the worst first."""
    return sorted(_losses(results), key=lambda loss: loss[2].ratio)


def _losses(
    results: Iterable[BenchmarkResult],
) -> Iterator[tuple[BenchmarkResult, Comparison, Advantage]]:
    for result in results:
        for comparison in result.comparisons:
            for one in advantages(comparison):
                if one.verdict == "worse":
                    yield result, comparison, one
