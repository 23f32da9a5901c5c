"""The middleware under another name of its module."""

from overdrive.api import (
    CacheConfig,
    CompressionConfig,
    PerformanceConfig,
    PerformanceMiddleware,
    RequestDeduplicator,
    setup_performance_middleware,
)

__all__ = [
    "CacheConfig",
    "CompressionConfig",
    "PerformanceConfig",
    "PerformanceMiddleware",
    "RequestDeduplicator",
    "setup_performance_middleware",
]
