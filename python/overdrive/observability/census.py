"""How many objects of which type there are, and how large the large containers are."""

import gc
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overdrive._core import tally

__all__ = ["LARGE", "Census", "ContainerKey", "name_of", "take_census"]

LARGE = 1000
"""Containers with fewer members are not looked at one by one."""

CHUNK = 100_000
"""Objects that are looked at before other threads may run."""

CONTAINERS = (list, dict, set, deque)

ContainerKey = tuple[str, int]
"""The type of a container and its `id`, which refers to it without keeping it alive."""


@dataclass(frozen=True, slots=True)
class Census:
    """The objects that the garbage collector tracks, at one moment.

    Objects that cannot be part of a cycle, such as strings and numbers, are not tracked; they show
    in the sizes of the containers that hold them, and in `blocks`.

    Attributes:
        at: When, in the seconds of `time.monotonic`.
        counts: Objects by the full name of their type.
        containers: Members of the large lists, dicts, sets and deques.
        blocks: Blocks of memory that Python's allocator has given out.
        rss_bytes: Resident memory of the process; zero if it was not asked for.
        seconds: How long the census took.
        longest_pause: For how long at most it kept other threads from running, in seconds.
    """

    at: float
    counts: Mapping[str, int]
    containers: Mapping[ContainerKey, int]
    blocks: int = 0
    rss_bytes: int = 0
    seconds: float = 0.0
    longest_pause: float = 0.0

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(self.counts.values())


def name_of(kind: type) -> str:
    """Return the full name of a type; that of a built-in one has no module."""
    module = getattr(kind, "__module__", None)
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in {"builtins", None} else f"{module}.{name}"


def take_census(rss_bytes: int = 0) -> Census:
    """Count the objects that the garbage collector tracks. Takes time in proportion to them.

    Other threads run between chunks of objects, but not while the collector lists them all; the
    result says for how long that was.
    """
    began = time.perf_counter()
    everything = gc.get_objects()
    now = time.perf_counter()
    longest = now - began
    types: Counter[type] = Counter()
    containers: dict[ContainerKey, int] = {}
    for start in range(0, len(everything), CHUNK):
        kinds, large = tally(everything, start, start + CHUNK, CONTAINERS, LARGE)
        types.update(dict(kinds))
        for container, size in large:
            containers[type(container).__name__, id(container)] = size
        before, now = now, time.perf_counter()
        longest = max(longest, now - before)
    # This one was made by the census.
    containers.pop(("list", id(everything)), None)
    del everything, large
    counts: Counter[str] = Counter()
    for kind, count in types.items():
        counts[name_of(kind)] += count
    return Census(
        at=time.monotonic(),
        counts=counts,
        containers=containers,
        blocks=sys.getallocatedblocks(),
        rss_bytes=rss_bytes,
        seconds=time.perf_counter() - began,
        longest_pause=longest,
    )


def find_container(key: ContainerKey) -> Any:
    """Return the container of a key; `None` if it is gone."""
    kind, number = key
    for candidate in gc.get_objects():
        if id(candidate) == number and type(candidate).__name__ == kind:
            return candidate
    return None
