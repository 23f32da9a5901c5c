"""A drop-in performance layer for Python multi-agent systems, with a core in Rust.

The parts that need nothing but the standard library are exported here. The others are packages of
their own: `overdrive.agents` and `overdrive.database`.
"""

from overdrive._core import __version__
from overdrive.caches import LRUCache, TTLCache, cached
from overdrive.errors import MissingExtraError, OverdriveError
from overdrive.executor import WorkStealingExecutor
from overdrive.pools import MemoryPool, ObjectPool
from overdrive.queues import WorkStealingQueue
from overdrive.registry import LockFreeAgentRegistry, ShardedRegistry

__all__ = [
    "LRUCache",
    "LockFreeAgentRegistry",
    "MemoryPool",
    "MissingExtraError",
    "ObjectPool",
    "OverdriveError",
    "ShardedRegistry",
    "TTLCache",
    "WorkStealingExecutor",
    "WorkStealingQueue",
    "__version__",
    "cached",
]
