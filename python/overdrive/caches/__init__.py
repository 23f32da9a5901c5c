"""Bounded caches that many threads share without a lock of their own.

`LRUCache` and `TTLCache` stand in for the classes of the same names in `cachetools`: the same
constructors, the same behaviour as mappings, the same methods to override. `cached` keeps results
of functions, methods and coroutine functions in one.
"""

from overdrive.caches._cached import CachedFunction, CacheInfo, cached
from overdrive.caches._classes import Cache, CacheStats, Listener, LRUCache, TTLCache

__all__ = [
    "Cache",
    "CacheInfo",
    "CacheStats",
    "CachedFunction",
    "LRUCache",
    "Listener",
    "TTLCache",
    "cached",
]

# Where users, and pickles, find them.
for _public in (Cache, CacheInfo, CacheStats, LRUCache, TTLCache):
    _public.__module__ = __name__
