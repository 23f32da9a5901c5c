"""Pools of objects and of memory blocks that are used again instead of made anew."""

from dataclasses import dataclass

from overdrive._core import Borrow, MemoryPool, ObjectPool
from overdrive.errors import PoolExhaustedError

__all__ = [
    "Borrow",
    "MemoryPool",
    "MemoryPoolStats",
    "ObjectPool",
    "PoolExhaustedError",
    "PoolStats",
]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What an object pool holds now, and what it did since it was made.

    Attributes:
        pool_size: Objects that wait to be acquired.
        max_size: The most objects that wait.
        created_count: Objects that the factory made.
        reused_count: Times that an object was acquired again.
        reuse_rate: Part of the acquisitions that the factory was not needed for, 0 to 1.
        in_use: Objects that are acquired and not released.
        discarded_count: Objects dropped because their reset raised.
        dropped_count: Objects dropped because `max_size` others waited when they were released.
        leaked_count: Objects that were acquired and are gone without having been released.
    """

    pool_size: int
    max_size: int
    created_count: int
    reused_count: int
    reuse_rate: float
    in_use: int
    discarded_count: int
    dropped_count: int
    leaked_count: int


@dataclass(frozen=True, slots=True)
class MemoryPoolStats:
    """How much of a memory pool is in use.

    Attributes:
        available: Blocks that can be acquired.
        in_use: Blocks that are acquired and not released.
        utilization: Part of the blocks that is in use, 0 to 1.
    """

    available: int
    in_use: int
    utilization: float
