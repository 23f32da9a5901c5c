"""A thread pool with the interface of `concurrent.futures` and work-stealing queues.

On a build of CPython with the global interpreter lock, pure Python tasks do not run in parallel on
this executor or on any other: what it saves there is the cost of handing a task over. Work that
waits, or that releases the lock, overlaps. On a free-threaded build tasks run in parallel.
"""

from overdrive.executor.adaptive import AdaptiveConfig, AdaptiveThreadPool
from overdrive.executor.future import Future
from overdrive.executor.pool import WorkStealingExecutor
from overdrive.executor.stats import ExecutorStats, LaneStats, TaskTotals, WaitSummary
from overdrive.executor.topology import Topology, read_topology
from overdrive.executor.view import ExecutorView

__all__ = [
    "AdaptiveConfig",
    "AdaptiveThreadPool",
    "ExecutorStats",
    "ExecutorView",
    "Future",
    "LaneStats",
    "TaskTotals",
    "Topology",
    "WaitSummary",
    "WorkStealingExecutor",
    "read_topology",
]
