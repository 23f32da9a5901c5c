"""Where the time and the memory went."""

from overdrive.observability.metrics import (
    Counter,
    Family,
    Gauge,
    Histogram,
    HistogramSnapshot,
    Metric,
    Metrics,
)

__all__ = [
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "HistogramSnapshot",
    "Metric",
    "Metrics",
]
