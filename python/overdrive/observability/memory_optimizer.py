"""The memory tools, under the name they had first."""

from overdrive.observability.gc_tuning import GarbageCollectionTuner
from overdrive.observability.leaks import LeakDetection
from overdrive.observability.optimizer import (
    Freed,
    MemoryOptimizer,
    MemoryUse,
    get_memory_optimizer,
    memory_tracking,
    start_memory_optimization,
)
from overdrive.observability.profiler import MemoryProfiler
from overdrive.pools import ObjectPool

__all__ = [
    "Freed",
    "GarbageCollectionTuner",
    "LeakDetection",
    "MemoryOptimizer",
    "MemoryProfiler",
    "MemoryUse",
    "ObjectPool",
    "get_memory_optimizer",
    "memory_tracking",
    "start_memory_optimization",
]
