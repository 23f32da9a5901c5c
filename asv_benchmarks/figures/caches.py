"""The caches beside cachetools, cachebox and `functools.lru_cache`."""

import functools
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cachebox
import cachetools
import psutil

from figures.interleaved import Row, loops
from overdrive.caches import LRUCache, TTLCache, cached

__all__ = ["rows"]

KEYS = [f"key-{i}" for i in range(1000)]
ENTRIES = 1_000_000
TTL = 600
LIBRARIES: dict[str, Any] = {"cachebox": cachebox, "cachetools": cachetools}


def rows() -> Iterator[Row]:
    """Measure; 1,000 `str` keys, one thread."""
    yield from _kind("LRUCache", LRUCache(1000), (1.0, 0.25))
    yield from _kind("TTLCache", TTLCache(1000, TTL), (1.0, 0.1))
    yield from _hits()
    yield from _memory()


def _kind(kind: str, ours: Any, targets: tuple[float, float]) -> Iterator[Row]:
    arguments = (1000,) if kind == "LRUCache" else (1000, TTL)
    caches = {"ours": ours}
    caches |= {name: getattr(library, kind)(*arguments) for name, library in LIBRARIES.items()}
    for cache in caches.values():
        cache.update(dict.fromkeys(KEYS, 1))
    operations = {"[k]": "{}[k]", ".get(k)": "{}.get(k)", "[k] = 1": "{}[k] = 1"}
    for operation, statement in operations.items():
        taken = loops({name: statement.format(name) for name in caches}, caches, KEYS)
        for name, target in zip(LIBRARIES, targets, strict=True):
            yield Row(f"{kind} cache{operation}", taken["ours"], name, taken[name], target)


def _hits() -> Iterator[Row]:
    def function(x: Any, y: Any = None) -> Any:
        return x, y

    size = 10_000
    functions = {
        "ours": cached(size)(function),
        "lru_cache": functools.lru_cache(size)(function),
        "cachebox": cachebox.cached(cachebox.LRUCache(size))(function),
        "cachetools": cachetools.cached(cachetools.LRUCache(size), lock=threading.Lock())(function),
    }
    targets = {"lru_cache": 1.3, "cachebox": 0.2, "cachetools": 0.2}
    for call in ("(k)", "(k, 1)", "(k, y=1)"):
        taken = loops({name: name + call for name in functions}, functions, KEYS)
        for name, target in targets.items():
            against = f"{name} with a lock" if name == "cachetools" else name
            aim = target if call == "(k)" else None
            yield Row(f"cached hit, f{call}", taken["ours"], against, taken[name], aim)


def _memory() -> Iterator[Row]:
    """Compare what a million entries take beyond their keys and values."""
    for kind in ("LRUCache", "TTLCache"):
        taken = {name: _resident(name, kind) for name in ("overdrive.caches", *LIBRARIES)}
        for name, target in zip(LIBRARIES, (1.0, 0.6), strict=True):
            what = f"{kind}, memory of an entry"
            yield Row(what, taken["overdrive.caches"], name, taken[name], target, "bytes")


def _resident(module: str, kind: str) -> float:
    arguments = [sys.executable, "-m", "figures.caches", module, kind]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def _fill(module: str, kind: str) -> None:
    process = psutil.Process(os.getpid())
    keys = [f"key-{i}" for i in range(ENTRIES)]
    values = list(range(ENTRIES))
    make = getattr(importlib.import_module(module), kind)
    before = process.memory_info().rss
    cache = make(ENTRIES) if kind == "LRUCache" else make(ENTRIES, TTL)
    for key, value in zip(keys, values, strict=True):
        cache[key] = value
    sys.stdout.write(str((process.memory_info().rss - before) / ENTRIES))


if __name__ == "__main__":
    _fill(*sys.argv[1:])
