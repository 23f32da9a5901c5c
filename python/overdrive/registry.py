"""A concurrent mapping that many threads read and write without a lock of their own."""

from collections.abc import MutableMapping
from typing import Any, TypeVar

from overdrive import _core

__all__ = ["LockFreeAgentRegistry", "ShardedRegistry"]

K = TypeVar("K")
V = TypeVar("V")


class ShardedRegistry(_core.ShardedRegistry[K, V], MutableMapping[K, V]):
    """Map keys to values in independently locked shards.

    A `MutableMapping`: every operation of `dict` works, each single one atomically. Iteration goes
    over a consistent copy of the keys, so changing the registry meanwhile is allowed and not seen.

    Args:
        num_shards: Number of independent locks, at least 1.

    Raises:
        ValueError: If `num_shards` is zero.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.get_all()!r}, num_shards={self.num_shards})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.num_shards,), None, None, iter(self.get_all().items()))


LockFreeAgentRegistry = ShardedRegistry
