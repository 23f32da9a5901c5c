"""A concurrent mapping that many threads read and write without a lock of their own."""

from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import TypeVar

from overdrive._core import ABSENT, Absent, Change, ShardedRegistry, Watch

__all__ = [
    "ABSENT",
    "Absent",
    "Change",
    "LockFreeAgentRegistry",
    "RegistryItems",
    "RegistryKeys",
    "RegistryValues",
    "ShardedRegistry",
    "Watch",
]

K = TypeVar("K")
V = TypeVar("V")

LockFreeAgentRegistry = ShardedRegistry
MutableMapping.register(ShardedRegistry)


class RegistryKeys(KeysView[K]):
    """The keys of a registry at the moment of each use."""

    __slots__ = ()


class RegistryValues(ValuesView[V]):
    """The values of a registry at the moment of each use."""

    __slots__ = ()
    _mapping: ShardedRegistry[object, V]

    def __iter__(self) -> Iterator[V]:
        return iter(self._mapping.snapshot().values())

    def __contains__(self, value: object) -> bool:
        return any(stored is value or stored == value for stored in self)


class RegistryItems(ItemsView[K, V]):
    """The pairs of a registry at the moment of each use."""

    __slots__ = ()
    _mapping: ShardedRegistry[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping.snapshot().items())
