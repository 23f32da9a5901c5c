"""How an agent manager is set up."""

from dataclasses import dataclass

__all__ = ["OptimizationConfig"]


@dataclass(slots=True, kw_only=True)
class OptimizationConfig:
    """Options of `OptimizedAgentManager`.

    Attributes:
        max_workers: The largest number of threads that step agents; `None` leaves it to the
            executor.
        batch_size: How many agents a thread is handed at a time, at least 1. Agents of a class with
            `step_batch` are handed over together, however many they are.
        num_shards: Number of independent locks of the agent registry, at least 1.

    Raises:
        ValueError: If an option is out of its range.
    """

    max_workers: int | None = None
    batch_size: int = 20
    num_shards: int = 16

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_workers", "batch_size", "num_shards"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
