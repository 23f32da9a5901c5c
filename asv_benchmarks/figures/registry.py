"""The registry beside one dictionary, and beside a dictionary and a lock per shard."""

import threading
from collections.abc import Iterator
from typing import Any

from figures.interleaved import Row, loops
from overdrive.registry import ShardedRegistry

__all__ = ["rows"]

KEYS = [f"key-{i}" for i in range(1000)]


class LockedShards:
    """What one writes without the registry: a dictionary and a re-entrant lock per shard."""

    def __init__(self, num_shards: int = 16) -> None:
        self._num_shards = num_shards
        self._shards: list[dict[Any, Any]] = [{} for _ in range(num_shards)]
        self._locks = [threading.RLock() for _ in range(num_shards)]

    def register(self, key: Any, value: Any) -> bool:
        """Store a value unless the key is taken."""
        i = hash(key) % self._num_shards
        with self._locks[i]:
            if key in self._shards[i]:
                return False
            self._shards[i][key] = value
            return True

    def get(self, key: Any) -> Any:
        """Return the value of a key or `None`."""
        i = hash(key) % self._num_shards
        with self._locks[i]:
            return self._shards[i].get(key)


def rows() -> Iterator[Row]:
    """Measure; 1,000 `str` keys, one thread."""
    values = dict.fromkeys(KEYS, 1)
    ours: ShardedRegistry[str, int] = ShardedRegistry()
    ours.update(values)
    shards = LockedShards()
    for key in KEYS:
        shards.register(key, 1)
    names = {"ours": ours, "plain": values, "shards": shards}
    taken = loops({name: f"{name}.get(k)" for name in names}, names, KEYS)
    yield Row("registry.get(k)", taken["ours"], "dict.get", taken["plain"], 1.5)
    yield Row("registry.get(k)", taken["ours"], "16 dicts and RLocks", taken["shards"], 1 / 6)
    taken = loops({"ours": "ours[k]", "plain": "plain[k]"}, names, KEYS)
    yield Row("registry[k]", taken["ours"], "dict[k]", taken["plain"])
    yield from _bulk(names)


def _bulk(names: dict[str, Any]) -> Iterator[Row]:
    """Compare, per item, with a list comprehension over one dictionary."""
    pairs = [(key, 1) for key in KEYS]
    names = {**names, "keys": KEYS, "pairs": pairs, "empty": {}, "ShardedRegistry": ShardedRegistry}
    statements = {
        "get_many": ("ours.get_many(keys)", "[plain.get(i) for i in keys]"),
        "register_many, all taken": (
            "ours.register_many(pairs)",
            "[plain.setdefault(i, j) for i, j in pairs]",
        ),
        "register_many, all new": (
            "ours.clear(); ours.register_many(pairs)",
            "empty.clear(); [empty.setdefault(i, j) for i, j in pairs]",
        ),
    }
    for what, (ours, plain) in statements.items():
        taken = loops({"ours": ours, "plain": plain}, names, [None])
        per_item = {name: time / len(KEYS) for name, time in taken.items()}
        against = "a comprehension over one dict"
        yield Row(what, per_item["ours"], against, per_item["plain"], 1.0)
