"""The caches beside cachetools and cachebox, and the decorator beside `functools.lru_cache`."""

import functools
import threading
from typing import Any

import cachebox
import cachetools

from overdrive import caches

KEYS = [f"key-{i}" for i in range(1000)]
ROUNDS = 20
TTL = 600
LIBRARIES: dict[str, Any] = {"overdrive": caches, "cachebox": cachebox, "cachetools": cachetools}


class Mapping:
    """20 times 1,000 operations with `str` keys on a cache of 1,000 entries."""

    params = (["LRUCache", "TTLCache"], list(LIBRARIES))
    param_names = ("kind", "way")

    def setup(self, kind: str, way: str) -> None:
        """Fill the cache."""
        make = getattr(LIBRARIES[way], kind)
        self.cache = make(1000) if kind == "LRUCache" else make(1000, TTL)
        self.cache.update(dict.fromkeys(KEYS, 1))

    def time_get(self, kind: str, way: str) -> None:
        """Look every key up."""
        cache = self.cache
        for _ in range(ROUNDS):
            for key in KEYS:
                cache[key]

    def time_set(self, kind: str, way: str) -> None:
        """Replace every value."""
        cache = self.cache
        for _ in range(ROUNDS):
            for key in KEYS:
                cache[key] = 1

    def time_evict(self, kind: str, way: str) -> None:
        """Store new keys, each of which evicts another."""
        cache = self.cache
        for start in range(0, ROUNDS * 1000, 1000):
            for key in range(start, start + 1000):
                cache[key] = 1


class Decorator:
    """20 times 1,000 calls whose results are there."""

    params = (["overdrive", "lru_cache", "cachebox", "cachetools with a lock"],)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        """Call the function once with each argument."""
        self.function = {
            "overdrive": caches.cached(1000),
            "lru_cache": functools.lru_cache(1000),
            "cachebox": cachebox.cached(cachebox.LRUCache(1000)),
            "cachetools with a lock": cachetools.cached(
                cachetools.LRUCache(1000), lock=threading.Lock()
            ),
        }[way](str.upper)
        for key in KEYS:
            self.function(key)

    def time_hit(self, way: str) -> None:
        """Call it with each argument again."""
        function = self.function
        for _ in range(ROUNDS):
            for key in KEYS:
                function(key)

    def time_miss(self, way: str) -> None:
        """Call it with arguments it does not know."""
        function = self.function
        for i in range(1000):
            function(f"new-{i}")
        function.cache_clear()
