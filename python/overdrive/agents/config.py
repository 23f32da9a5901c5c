"""How an agent manager is set up."""

import math
from dataclasses import dataclass
from typing import Self

from overdrive.executor import AdaptiveConfig

__all__ = ["OptimizationConfig"]


@dataclass(slots=True, kw_only=True)
class OptimizationConfig(AdaptiveConfig):
    """Options of `OptimizedAgentManager`, which are also those of an `AdaptiveThreadPool`.

    A manager checks the options once more and copies them: later changes do not reach it.

    The manager of this version uses `max_workers`, `batch_size` and `num_shards`; the other options
    of the manager are checked and have no effect yet. `AdaptiveThreadPool` uses all of its own.

    Attributes:
        batch_size: How many agents a thread is handed at a time, at least 1. Agents of a class with
            `step_batch` are handed over together, however many they are.
        batch_timeout_ms: Milliseconds that a step may wait for others to be handed over with, while
            no thread is free; at least 0.
        num_shards: Number of independent locks of the agent registry, at least 1.
        async_io_enabled: Save states on a thread of their own, off the stepping ones.
        event_loop_workers: Event loops, each on its thread, that agents with an `async` step share,
            at least 1.
        memory_pooling_enabled: Lend state blocks of one slab to agents that ask for them.

    Raises:
        ValueError: If an option is out of its range.
    """

    batch_size: int = 20
    batch_timeout_ms: float = 50.0
    num_shards: int = 16
    async_io_enabled: bool = True
    event_loop_workers: int = 1
    memory_pooling_enabled: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        # Slots make another class of this one, which `super()` without arguments does not know.
        AdaptiveConfig.__post_init__(self)
        for name in ("batch_size", "num_shards", "event_loop_workers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        timeout = self.batch_timeout_ms
        if not isinstance(timeout, (int, float)) or not 0 <= timeout < math.inf:
            raise ValueError(f"batch_timeout_ms must be finite and at least 0, got {timeout!r}")

    @classmethod
    def high_throughput(cls) -> Self:
        """Hand over many agents at a time: the most steps per second."""
        return cls(batch_size=100, batch_timeout_ms=10.0, work_stealing_enabled=True)

    @classmethod
    def low_latency(cls) -> Self:
        """Hand over each agent at once: the shortest wait for a step."""
        return cls(batch_size=1, batch_timeout_ms=1.0, cpu_aware_sizing=True)

    @classmethod
    def memory_constrained(cls) -> Self:
        """Lend state blocks of one slab, and hand over few agents at a time."""
        return cls(batch_size=10, memory_pooling_enabled=True)
