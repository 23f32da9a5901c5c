"""A drop-in performance layer for Python multi-agent systems, with a core in Rust.

The parts that need nothing but the standard library are exported here. The others are packages of
their own: `overdrive.agents` and `overdrive.database`.
"""

from overdrive._core import __version__
from overdrive.caches import LRUCache, TTLCache, cached
from overdrive.errors import MissingExtraError, OverdriveError
from overdrive.executor import WorkStealingExecutor
from overdrive.registry import LockFreeAgentRegistry, ShardedRegistry

__all__ = [
    "LRUCache",
    "LockFreeAgentRegistry",
    "MissingExtraError",
    "OverdriveError",
    "ShardedRegistry",
    "TTLCache",
    "WorkStealingExecutor",
    "__version__",
    "cached",
]
