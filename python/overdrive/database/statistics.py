"""What the pool says about itself."""

import logging
from typing import Any

from overdrive import _core
from overdrive.database._histogram import Histogram, bucket_of
from overdrive.database.analysis import Analyst, Verdict
from overdrive.database.node import Node
from overdrive.database.query_cache import QueryCache
from overdrive.database.replicas import Replicas

__all__ = ["Recorder", "describe_cache", "describe_node", "describe_statement"]

_log = logging.getLogger("overdrive.database.optimized_db")


class Recorder:
    """Counts statements and logs slow ones, with normalised text and without arguments.

    Args:
        threshold: Seconds from which a statement is slow.
    """

    def __init__(self, threshold: float) -> None:
        self.times = Histogram()
        self.feed = _core.Histogram("database", fed=True)
        self.slow = 0
        self.errors = 0
        self.cached = 0
        self._threshold = threshold

    def add(self, verdict: Verdict, seconds: float, rows: int) -> None:
        """Count a statement that ended well."""
        verdict.calls += 1
        verdict.rows += rows
        bucket = bucket_of(seconds)
        verdict.times.add_to_bucket(bucket, seconds)
        self.times.add_to_bucket(bucket, seconds)
        self.feed.note(seconds)
        if seconds >= self._threshold:
            self.slow += 1
            _log.warning("slow statement (%.0f ms, %d rows): %s", seconds * 1e3, rows,
                         verdict.normal)  # fmt: skip

    def fail(self, verdict: Verdict) -> None:
        """Count a statement that raised."""
        verdict.errors += 1
        self.errors += 1

    def summary(self) -> dict[str, Any]:
        """Return totals and percentiles."""
        total = self.times.count + self.cached
        return {
            "total_queries": total,
            "executed_queries": self.times.count,
            "cached_queries": self.cached,
            "slow_queries": self.slow,
            "errors": self.errors,
            "total_time": self.times.total,
            "avg_time": self.times.mean,
            **self.times.summary(),
        }


def describe_statement(verdict: Verdict) -> dict[str, Any]:
    """Return what was measured of one statement."""
    return {
        "query": verdict.normal,
        "calls": verdict.calls,
        "errors": verdict.errors,
        "rows": verdict.rows,
        "total_time": verdict.times.total,
        **verdict.times.summary(),
    }


def top(analyst: Analyst, number: int) -> list[dict[str, Any]]:
    """Return the statements that took the most time, those of the same normalised text as one."""
    merged: dict[str, dict[str, Any]] = {}
    used = [verdict for verdict in analyst.verdicts() if verdict.calls or verdict.errors]
    for verdict in sorted(used, key=lambda v: v.times.total, reverse=True):
        found = merged.get(verdict.normal)
        if found is None:
            merged[verdict.normal] = describe_statement(verdict)
        else:
            for key in ("calls", "errors", "rows", "total_time"):
                found[key] += describe_statement(verdict)[key]
    return sorted(merged.values(), key=lambda d: -d["total_time"])[:number]


def describe_node(node: Node) -> dict[str, Any]:
    """Return sizes and counts of the connections to one server."""
    counts = node.counts
    return {
        "size": node.size,
        "idle": node.idle,
        "in_use": node.in_use,
        "waiting": node.waiting,
        "target_size": node.target,
        "min_size": node.config.min_connections,
        "max_size": node.config.max_connections,
        "utilization": node.in_use / node.config.max_connections,
        "opened": counts.opened,
        "closed": counts.closed,
        "lost": counts.lost,
        "failed_connects": counts.failed_connects,
        "resets": counts.resets,
        "resets_spared": counts.resets_spared,
        "timeouts": counts.timeouts,
        "refused": counts.refused,
        "leaks": counts.leaks,
        "leaked_at": list(node.leaked),
        "wait": counts.waits.summary(),
        "connect": counts.connects.summary(),
    }


def figures(node: Node | None, cache: QueryCache) -> dict[str, float]:
    """Return what a monitor wants to know about the primary and the cache."""
    if node is None:
        return {}
    counts = cache.counts
    return {"size": node.size, "in_use": node.in_use, "idle": node.idle, "waiting": node.waiting,
            "cache_entries": len(cache), "cache_hits": counts.hits,
            "cache_misses": counts.misses}  # fmt: skip


def describe_health(node: Node) -> dict[str, Any]:
    """Return whether one server can be reached, as far as is known."""
    return {
        "healthy": node.failures == 0 and not node.is_closing,
        "checks": node.counts.checks,
        "failed_checks": node.counts.failed_checks,
        "failed_connects": node.counts.failed_connects,
        "last_error": node.last_error,
    }


def describe_replicas(replicas: Replicas | None) -> dict[str, Any]:
    """Return how far the replicas are, and which reads the primary got in their place."""
    if replicas is None:
        return {}
    return {
        "fallbacks_to_primary": replicas.fallbacks,
        "nodes": [
            {
                "name": replica.node.name,
                "usable": replica.usable,
                "lag": replica.lag,
                "reads": replica.reads,
                "last_error": replica.last_error,
                **describe_node(replica.node),
            }
            for replica in replicas.all
        ],
    }


def describe_cache(cache: QueryCache) -> dict[str, Any]:
    """Return sizes and counts of the query cache."""
    counts = cache.counts
    asked = counts.hits + counts.misses
    return {
        "size": len(cache),
        "enabled": cache.open,
        "hits": counts.hits,
        "misses": counts.misses,
        "hit_rate": counts.hits / asked if asked else 0.0,
        "joined": counts.joined,
        "stored": counts.stored,
        "not_kept": counts.refused,
        "invalidations": counts.invalidations,
        "flushes": counts.flushes,
        "expired": counts.expired,
        "evicted": counts.evicted,
    }
