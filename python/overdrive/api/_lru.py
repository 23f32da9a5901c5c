"""A least-recently-used mapping bounded by the sizes of its values, for use under threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LRUCache"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class LRUCache(Generic[Key, Value]):
    """The few calls of `cachetools.LRUCache` that the store needs."""

    def __init__(self, maxsize: int, getsizeof: Callable[[Value], int]) -> None:
        self.maxsize = maxsize
        self.currsize = 0
        self._getsizeof = getsizeof
        self._data: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._data)

    def __setitem__(self, key: Key, value: Value) -> None:
        self.pop(key, None)
        with self._lock:
            self._data[key] = value
            self.currsize += self._getsizeof(value)

    def get(self, key: Key) -> Value | None:
        """Return a value and mark it as used."""
        with self._lock:
            value = self._data.get(key)
            if value is not None:
                self._data.move_to_end(key)
            return value

    def pop(self, key: Key, default: None) -> Value | None:
        """Remove a value."""
        with self._lock:
            value = self._data.pop(key, default)
            if value is not None:
                self.currsize -= self._getsizeof(value)
            return value

    def popitem(self) -> tuple[Key, Value]:
        """Remove what was used longest ago."""
        with self._lock:
            key, value = self._data.popitem(last=False)
            self.currsize -= self._getsizeof(value)
            return key, value
