"""What the monitor reads, and what the difference of two readings says."""

import math
from dataclasses import dataclass, field

from overdrive._core import HistogramSnapshot

__all__ = ["Gil", "Reading", "rates"]


@dataclass(frozen=True, slots=True)
class Gil:
    """What the sampler of the interpreter lock saw so far.

    Attributes:
        probes: How often it asked for the lock.
        seconds: The seconds that its probes cover.
        held: The seconds of those during which another thread held the lock.
        waited: The seconds that it waited itself.
        overhead: The processor time it took; `None` where the system does not tell.
    """

    probes: int
    seconds: float
    held: float
    waited: float
    overhead: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment. What can be added up only grows.

    Attributes:
        at: When, on the monitor's clock.
        cpu_seconds: Processor time of this process.
        processors: How many processors it may use.
        system_cpu_seconds: Processor time of everything on the machine.
        system_processors: How many processors there are.
        memory_rss_bytes: Resident memory of this process.
        memory_usage: Per cent of the machine's memory in use.
        thread_count: Threads of this process.
        voluntary_switches: How often its threads waited for something.
        involuntary_switches: How often its threads were made to wait.
        gil: What is known about the interpreter lock; `None` if nothing.
        pauses: Durations of collections by generation.
        durations: Durations by what was timed: `api`, `database`, `agents`, `websocket`, `loop`.
        errors: How many of those ended with an exception.
        values: What other sources said.
        collected: Objects that collections freed.
        uncollectable: Objects that they could not free.
    """

    at: float
    cpu_seconds: float
    processors: int
    system_cpu_seconds: float
    system_processors: int
    memory_rss_bytes: int
    memory_usage: float
    thread_count: int
    voluntary_switches: int
    involuntary_switches: int
    gil: Gil | None
    pauses: list[HistogramSnapshot]
    durations: dict[str, HistogramSnapshot]
    errors: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    collected: float = 0.0
    uncollectable: float = 0.0


_TIMES = {
    "api": ("api_response_time_ms", "api_requests_per_second"),
    "database": ("db_query_time_ms", "db_queries_per_second"),
    "agents": ("agent_step_time_ms", "agent_steps_per_second"),
    "websocket": ("websocket_message_time_ms", "websocket_messages_per_second"),
}


def rates(before: Reading, now: Reading) -> dict[str, float]:
    """Return the figures of the time between two readings, by the names of `current_metrics`.

    Durations are the 95th percentile. What nothing is known about is `nan`: no comparison with a
    threshold is true of it.
    """
    seconds = max(now.at - before.at, 1e-9)
    system = now.system_cpu_seconds - before.system_cpu_seconds
    voluntary = now.voluntary_switches - before.voluntary_switches
    involuntary = now.involuntary_switches - before.involuntary_switches
    figures = {
        "cpu_usage": _percent(now.cpu_seconds - before.cpu_seconds, seconds * now.processors),
        "system_cpu_usage": _percent(system, seconds * now.system_processors),
        "memory_usage": now.memory_usage,
        "memory_rss_bytes": float(now.memory_rss_bytes),
        "thread_count": float(now.thread_count),
        "context_switches_per_second": (voluntary + involuntary) / seconds,
        "involuntary_switches_per_second": involuntary / seconds,
        "gil_contention": _held(before.gil, now.gil),
    }
    figures |= _collections(before, now, seconds)
    for name, (time, rate) in _TIMES.items():
        since = now.durations[name] - before.durations[name]
        figures[time] = _ms(since.quantile(0.95))
        figures[rate] = since.count / seconds
    lag = now.durations["loop"] - before.durations["loop"]
    figures["event_loop_lag_ms"] = _ms(lag.quantile(1.0))
    for name, errors in now.errors.items():
        figures[f"{name}_errors_per_second"] = (errors - before.errors.get(name, 0.0)) / seconds
    return figures | now.values


def _percent(part: float, whole: float) -> float:
    return min(max(100.0 * part / whole, 0.0), 100.0)


def _held(before: Gil | None, now: Gil | None) -> float:
    if now is None:
        return math.nan
    seconds, held = now.seconds, now.held
    # A sampler that was started anew begins at zero.
    if before is not None and before.probes <= now.probes:
        seconds, held = seconds - before.seconds, held - before.held
    return min(held / seconds, 1.0) if seconds > 0 else math.nan


def _collections(before: Reading, now: Reading, seconds: float) -> dict[str, float]:
    since = [new - old for new, old in zip(now.pauses, before.pauses, strict=True)]
    longest = max((pauses.quantile(1.0) or 0.0 for pauses in since), default=0.0)
    return {
        "gc_collections_per_second": sum(pauses.count for pauses in since) / seconds,
        "gc_time_share": min(sum(pauses.sum for pauses in since) / seconds, 1.0),
        "gc_pause_ms": longest * 1000.0,
    }


def _ms(seconds: float | None) -> float:
    return math.nan if seconds is None else seconds * 1000.0
