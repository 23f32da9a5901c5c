"""The monitor, under the name it had first."""

from overdrive.observability.alerts import Alert, Threshold
from overdrive.observability.insights import Insight
from overdrive.observability.monitor import PerformanceMonitor
from overdrive.observability.process import (
    get_performance_monitor,
    get_performance_report,
    start_performance_monitoring,
    time_agent_step,
    time_api_request,
    time_db_query,
)

__all__ = [
    "Alert",
    "Insight",
    "PerformanceMonitor",
    "Threshold",
    "get_performance_monitor",
    "get_performance_report",
    "start_performance_monitoring",
    "time_agent_step",
    "time_api_request",
    "time_db_query",
]
