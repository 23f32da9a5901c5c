"""Where the time and the memory went."""

from overdrive.observability.alerts import DEFAULT_THRESHOLDS, Alert, Threshold
from overdrive.observability.census import Census
from overdrive.observability.endpoint import PrometheusEndpoint
from overdrive.observability.exports import to_json, to_opentelemetry, to_prometheus
from overdrive.observability.gc_tuning import GarbageCollectionTuner, GcCost
from overdrive.observability.insights import Insight
from overdrive.observability.leaks import LeakDetection
from overdrive.observability.metrics import (
    Counter,
    Family,
    Gauge,
    Histogram,
    HistogramSnapshot,
    Metric,
    Metrics,
)
from overdrive.observability.monitor import PerformanceMonitor
from overdrive.observability.optimizer import (
    Freed,
    MemoryOptimizer,
    MemoryUse,
    get_memory_optimizer,
    memory_tracking,
    start_memory_optimization,
)
from overdrive.observability.process import (
    get_performance_monitor,
    get_performance_report,
    start_performance_monitoring,
    time_agent_step,
    time_api_request,
    time_db_query,
)
from overdrive.observability.profiler import CensusDiff, MemoryProfiler, ProfilerStats, compare
from overdrive.pools import ObjectPool

__all__ = [
    "DEFAULT_THRESHOLDS",
    "Alert",
    "Census",
    "CensusDiff",
    "Counter",
    "Family",
    "Freed",
    "GarbageCollectionTuner",
    "Gauge",
    "GcCost",
    "Histogram",
    "HistogramSnapshot",
    "Insight",
    "LeakDetection",
    "MemoryOptimizer",
    "MemoryProfiler",
    "MemoryUse",
    "Metric",
    "Metrics",
    "ObjectPool",
    "PerformanceMonitor",
    "ProfilerStats",
    "PrometheusEndpoint",
    "Threshold",
    "compare",
    "get_memory_optimizer",
    "get_performance_monitor",
    "get_performance_report",
    "memory_tracking",
    "start_memory_optimization",
    "start_performance_monitoring",
    "time_agent_step",
    "time_api_request",
    "time_db_query",
    "to_json",
    "to_opentelemetry",
    "to_prometheus",
]
