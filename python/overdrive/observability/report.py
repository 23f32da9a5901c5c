"""Readings as the sections of a report."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from overdrive._core import HistogramSnapshot
from overdrive.observability.readings import Reading, rates

__all__ = ["describe", "gil_reason", "latency", "totals"]

PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}


def describe(before: Reading, last: Reading) -> dict[str, Any]:
    """Describe the time between two readings, and all time up to the last."""
    return {
        "current_metrics": rates(before, last),
        "gil_contention": _gil(last),
        "latency": {
            name: latency(last.durations[name], errors) for name, errors in last.errors.items()
        },
        "garbage_collection": {
            "generations": [latency(pauses, 0.0) for pauses in last.pauses],
            "collected": last.collected,
            "uncollectable": last.uncollectable,
        },
        "context_switches": {
            "voluntary": last.voluntary_switches,
            "involuntary": last.involuntary_switches,
        },
    }


def totals(last: Reading) -> dict[str, float]:
    """Return what only grows, by the names of counters, for readers that compute rates."""
    grown = {
        "process_cpu_seconds_total": last.cpu_seconds,
        "voluntary_context_switches_total": float(last.voluntary_switches),
        "involuntary_context_switches_total": float(last.involuntary_switches),
        "gc_collections_total": float(sum(pauses.count for pauses in last.pauses)),
        "gc_pause_seconds_total": sum(pauses.sum for pauses in last.pauses),
        "gc_collected_objects_total": last.collected,
    }
    grown |= {f"{name}_errors_total": errors for name, errors in last.errors.items()}
    if last.gil is not None:
        grown |= {
            "gil_covered_seconds_total": last.gil.seconds,
            "gil_held_seconds_total": last.gil.held,
            "gil_wait_seconds_total": last.gil.waited,
            "gil_sampler_seconds_total": last.gil.overhead or 0.0,
        }
    return grown


def gil_reason() -> str | None:
    """Say why there is nothing to know about the interpreter lock, if so."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "not applicable: this build has no global interpreter lock"
    return None


def _gil(last: Reading) -> dict[str, Any]:
    reason, gil = gil_reason(), last.gil
    if gil is None:
        return {
            "applicable": reason is None,
            "reason": reason or "not monitored yet",
            "ratio": math.nan,
        }
    return {
        "applicable": reason is None,
        "reason": reason,
        "ratio": min(gil.held / gil.seconds, 1.0) if gil.seconds else math.nan,
        "probes": gil.probes,
        "covered_seconds": gil.seconds,
        "held_seconds": gil.held,
        "wait_seconds": gil.waited,
        "overhead_seconds": gil.overhead,
    }


def latency(snapshot: HistogramSnapshot, errors: float) -> Mapping[str, float | int | None]:
    """Describe durations since the beginning: their number, their mean and their percentiles."""
    figures: dict[str, float | int | None] = {
        "count": snapshot.count,
        "errors": int(errors),
        "total_seconds": snapshot.sum,
        "mean_ms": snapshot.sum / snapshot.count * 1000.0 if snapshot.count else None,
    }
    for name, share in PERCENTILES.items():
        value = snapshot.quantile(share)
        figures[name] = None if value is None else value * 1000.0
    figures["max_ms"] = None if snapshot.maximum is None else snapshot.maximum * 1000.0
    return figures
