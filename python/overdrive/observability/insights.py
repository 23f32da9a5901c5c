"""What is wrong, by the figures, with the figures that say so."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from overdrive._core import HistogramSnapshot
from overdrive.observability.loops import Block
from overdrive.observability.threads import Crowd

__all__ = ["Evidence", "Insight", "insights"]

COLLECTING = 0.15
"""Share of time in collections from which on they are a storm."""

CONTENDED = 0.7
"""Share of time that others hold the interpreter, from which on it is short."""

COMPETING = 150.0
"""Context switches a second of threads that take the interpreter from each other.

A thread that waits for it wakes every five milliseconds; so one that always waits makes 200.
"""

ENOUGH = 5
"""How many durations are needed to call something slow."""

SLOW_QUERY_MS = 100.0
SLOW_RESPONSE_MS = 500.0
SLOW_STEP_MS = 100.0
BUSY_PERCENT = 80.0
CROWDED = 0.3
"""Share of looks at the threads that found a crowd at one lock."""

QUEUED = 0.5
"""Share of the longest durations that was waiting."""


@dataclass(frozen=True, slots=True)
class Insight:
    """Something that is wrong.

    Attributes:
        cause: Which of the known causes it is.
        summary: What is wrong and what can be done, in two sentences.
        evidence: The figures it is said by; of a blocked loop also the `stack`.
    """

    cause: str
    summary: str
    evidence: Mapping[str, Any]

    def __str__(self) -> str:
        shown = ", ".join(
            f"{name} {_shown(value)}" for name, value in self.evidence.items() if name != "stack"
        )
        return f"{self.summary} ({shown})"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What insights are drawn from.

    Attributes:
        figures: `current_metrics` of the last few seconds.
        durations: What was timed in those seconds: `api`, `database`, `agents`.
        statements: Seconds of that spent in the database, by statement.
        blocks: Blocked loops found in those seconds.
        crowd: The lock that most threads waited for.
    """

    figures: Mapping[str, float]
    durations: Mapping[str, HistogramSnapshot] = field(default_factory=dict)
    statements: Mapping[str, float] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    crowd: Crowd | None = None


def insights(evidence: Evidence) -> list[Insight]:
    """Return what is wrong: causes first, what they lead to after them; nothing if all is well."""
    rules = (_storm, _pool, _query, _loop, _lock, _gil, _queues, _responses, _steps, _cpu, _memory)
    return [insight for rule in rules for insight in rule(evidence)]


def _storm(evidence: Evidence) -> Iterator[Insight]:
    share = evidence.figures.get("gc_time_share", 0.0)
    if share >= COLLECTING:
        yield Insight(
            "gc",
            "Garbage collections take much of the time. "
            "Consider GarbageCollectionTuner, object pools, or fewer objects that refer to others.",
            {
                "gc_time_share": share,
                "gc_collections_per_second": evidence.figures["gc_collections_per_second"],
                "gc_pause_ms": evidence.figures["gc_pause_ms"],
            },
        )


def _pool(evidence: Evidence) -> Iterator[Insight]:
    """Look at the figures `NAME.in_use`, `NAME.size` and `NAME.waiting` of each source."""
    for name, waiting in evidence.figures.items():
        source, dot, what = name.rpartition(".")
        if dot and what == "waiting" and waiting > 0:
            in_use = evidence.figures.get(f"{source}.in_use", math.nan)
            size = evidence.figures.get(f"{source}.size", math.nan)
            if in_use >= size:
                yield Insight(
                    "pool",
                    f"The pool {source} is exhausted. "
                    "Consider more connections, or returning them sooner.",
                    {"waiting": int(waiting), "in_use": int(in_use), "size": int(size)},
                )


def _query(evidence: Evidence) -> Iterator[Insight]:
    queries = evidence.durations.get("database", HistogramSnapshot())
    slow = _p95_ms(queries)
    if slow < SLOW_QUERY_MS:
        return
    figures: dict[str, Any] = {"p95_ms": slow, "queries": queries.count}
    total = queries.sum
    if evidence.statements and total > 0:
        statement, spent = max(evidence.statements.items(), key=lambda item: item[1])
        if statement:
            figures |= {"statement": repr(statement), "share_of_time": spent / total}
    yield Insight(
        "database",
        "Slow database queries detected. Consider an index, a cached result, or fewer rows.",
        figures,
    )


def _loop(evidence: Evidence) -> Iterator[Insight]:
    if evidence.blocks:
        worst = max(evidence.blocks, key=lambda block: block.late)
        yield Insight(
            "event_loop",
            "The event loop was blocked. Consider running that call on the executor.",
            {
                "late_seconds": worst.late,
                "blocks": len(evidence.blocks),
                "at": worst.where,
                "stack": worst.stack,
            },
        )


def _lock(evidence: Evidence) -> Iterator[Insight]:
    crowd = evidence.crowd
    if crowd is not None and crowd.share >= CROWDED:
        yield Insight(
            "lock",
            "Threads queue up for one lock. Consider to hold it shorter, or several locks.",
            {"at": crowd.place, "threads": crowd.threads, "share_of_looks": crowd.share},
        )


def _gil(evidence: Evidence) -> Iterator[Insight]:
    held = evidence.figures.get("gil_contention", math.nan)
    switches = evidence.figures.get("context_switches_per_second", 0.0)
    if held >= CONTENDED and switches >= COMPETING:
        yield Insight(
            "gil",
            "Threads compete for the interpreter. "
            "Consider processes, native code that releases it, or a free-threaded build.",
            {"gil_contention": held, "context_switches_per_second": switches},
        )


def _queues(evidence: Evidence) -> Iterator[Insight]:
    for name, durations in evidence.durations.items():
        tail = durations.tail(0.99)
        if tail is None or durations.count < ENOUGH:
            continue
        _, mean, collecting, waited = tail
        if mean >= 0.01 and waited / mean >= QUEUED:  # noqa: PLR2004 - ten milliseconds
            yield Insight(
                "queue",
                f"The longest of {name} mostly waited in a queue. "
                "Consider more workers, or less work at once.",
                {
                    "mean_of_longest_ms": mean * 1000.0,
                    "of_which_queue_ms": waited * 1000.0,
                    "of_which_gc_ms": collecting * 1000.0,
                },
            )


def _responses(evidence: Evidence) -> Iterator[Insight]:
    yield from _slow(
        evidence.durations.get("api"),
        SLOW_RESPONSE_MS,
        "api",
        "Slow API responses detected. Consider caching or optimization.",
    )


def _steps(evidence: Evidence) -> Iterator[Insight]:
    yield from _slow(
        evidence.durations.get("agents"),
        SLOW_STEP_MS,
        "agents",
        "Slow agent steps detected. Consider step_batch, or less work in a step.",
    )


def _slow(
    durations: HistogramSnapshot | None, limit: float, cause: str, summary: str
) -> Iterator[Insight]:
    if durations is None or _p95_ms(durations) < limit:
        return
    tail = durations.tail(0.95)
    assert tail is not None  # noqa: S101 - there is a percentile
    _, mean, collecting, waited = tail
    yield Insight(
        cause,
        summary,
        {
            "p95_ms": _p95_ms(durations),
            "mean_of_longest_ms": mean * 1000.0,
            "of_which_queue_ms": waited * 1000.0,
            "of_which_gc_ms": collecting * 1000.0,
        },
    )


def _p95_ms(durations: HistogramSnapshot) -> float:
    """Return the 95th percentile in milliseconds; zero if there are too few."""
    if durations.count < ENOUGH:
        return 0.0
    return (durations.quantile(0.95) or 0.0) * 1000.0


def _cpu(evidence: Evidence) -> Iterator[Insight]:
    usage = evidence.figures.get("cpu_usage", 0.0)
    if usage >= BUSY_PERCENT:
        yield Insight(
            "cpu",
            "High CPU usage detected. Consider optimizing CPU-intensive operations.",
            {"cpu_usage": usage, "thread_count": int(evidence.figures.get("thread_count", 0))},
        )


def _memory(evidence: Evidence) -> Iterator[Insight]:
    usage = evidence.figures.get("memory_usage", 0.0)
    if usage >= BUSY_PERCENT:
        yield Insight(
            "memory",
            "High memory usage detected. Consider MemoryProfiler to see what grows.",
            {
                "memory_usage": usage,
                "memory_rss_bytes": int(evidence.figures.get("memory_rss_bytes", 0)),
            },
        )
