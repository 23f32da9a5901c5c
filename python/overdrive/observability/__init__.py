"""Where the time and the memory went."""

from overdrive.observability.alerts import DEFAULT_THRESHOLDS, Alert, Threshold
from overdrive.observability.insights import Insight
from overdrive.observability.metrics import (
    Counter,
    Family,
    Gauge,
    Histogram,
    HistogramSnapshot,
    Metric,
    Metrics,
)
from overdrive.observability.monitor import (
    PerformanceMonitor,
    get_performance_monitor,
    get_performance_report,
    start_performance_monitoring,
    time_agent_step,
    time_api_request,
    time_db_query,
)

__all__ = [
    "DEFAULT_THRESHOLDS",
    "Alert",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "HistogramSnapshot",
    "Insight",
    "Metric",
    "Metrics",
    "PerformanceMonitor",
    "Threshold",
    "get_performance_monitor",
    "get_performance_report",
    "start_performance_monitoring",
    "time_agent_step",
    "time_api_request",
    "time_db_query",
]
