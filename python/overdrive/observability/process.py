"""The one monitor of the process."""

import os
import threading
from typing import Any

from overdrive._core import Timing
from overdrive.observability.monitor import PerformanceMonitor

__all__ = [
    "get_performance_monitor",
    "get_performance_report",
    "start_performance_monitoring",
    "time_agent_step",
    "time_api_request",
    "time_db_query",
]

_the_one: PerformanceMonitor | None = None
_making = threading.Lock()


def get_performance_monitor() -> PerformanceMonitor:
    """Return the monitor of the process, which is made when it is first wanted."""
    global _the_one  # noqa: PLW0603 - one per process is what it is for
    with _making:
        if _the_one is None:
            _the_one = PerformanceMonitor()
        return _the_one


def start_performance_monitoring() -> PerformanceMonitor:
    """Start the monitor of the process and return it."""
    monitor = get_performance_monitor()
    monitor.start_monitoring()
    return monitor


def get_performance_report() -> dict[str, Any]:
    """Return the report of the monitor of the process."""
    return get_performance_monitor().get_performance_report()


def time_api_request(endpoint: str | None = None) -> Timing:
    """Time the answer to a request with the monitor of the process."""
    return get_performance_monitor().time_api_request(endpoint)


def time_db_query(statement: str | None = None) -> Timing:
    """Time a query with the monitor of the process."""
    return get_performance_monitor().time_db_query(statement)


def time_agent_step(agent_class: str | None = None) -> Timing:
    """Time a step of an agent with the monitor of the process."""
    return get_performance_monitor().time_agent_step(agent_class)


def _begin_again_after_fork() -> None:
    global _making  # noqa: PLW0603 - it may be held by a thread that is gone
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
