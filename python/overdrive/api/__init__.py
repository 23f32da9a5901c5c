"""Serve ASGI applications faster: a shared cache, compression, one answer for equal requests."""

from overdrive.api.cache import ResponseCacheMiddleware
from overdrive.api.coalescing import CoalescingMiddleware, RequestDeduplicator
from overdrive.api.compression import CompressionMiddleware
from overdrive.api.config import CacheConfig, CompressionConfig, PerformanceConfig
from overdrive.api.middleware import PerformanceMiddleware, setup_performance_middleware
from overdrive.api.operators import operators_router

__all__ = [
    "CacheConfig",
    "CoalescingMiddleware",
    "CompressionConfig",
    "CompressionMiddleware",
    "PerformanceConfig",
    "PerformanceMiddleware",
    "RequestDeduplicator",
    "ResponseCacheMiddleware",
    "operators_router",
    "setup_performance_middleware",
]
