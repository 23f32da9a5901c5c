"""What a second level of the cache must do, which several processes share, and its use."""

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from overdrive.api.entry import StoredResponse, from_bytes
from overdrive.api.request import Facts, Key

__all__ = ["CacheStore", "Found", "Purge", "SharedLevel"]


class Purge(NamedTuple):
    """Something to be forgotten by all processes.

    Attributes:
        kind: `paths`, `pattern`, `tag` or `all`.
        names: The paths, the pattern, the tag, or nothing.
    """

    kind: str
    names: tuple[str, ...]


class Found(NamedTuple):
    """What a store has for a key.

    Attributes:
        values: The valid variants, with the Unix times at which they were put, the newest first.
        generation: To be given back when an answer is put that is asked for after this look.
    """

    values: Sequence[tuple[float, bytes]]
    generation: int


class CacheStore(Protocol):
    """Keeps responses for several processes.

    Any method may fail or be slow: the cache counts it and goes on without. Methods are called from
    any event loop. `overdrive.api.redis_store.RedisStore` is one.
    """

    async def ready(self) -> None:
        """Come into touch with the other processes, so that no purge of theirs is missed."""

    async def get(self, key: bytes, path: str) -> Found:
        """Look up all variants of a resource that nothing has purged."""

    async def put(
        self,
        key: bytes,
        variant: bytes,
        value: bytes,
        *,
        ttl: float,
        generation: int,
        tags: Iterable[str],
    ) -> None:
        """Keep a variant for `ttl` seconds, so that purges since that generation mean it too."""

    async def purge(self, purge: Purge) -> None:
        """Make what is meant invalid, and tell the other processes."""

    def watch(self, on_purge: Callable[[Purge], object]) -> None:
        """Call a function for purges of other processes, and for `all` after being out of touch."""

    async def close(self) -> None:
        """Let go of connections. They come back when wanted; a second call does nothing."""


class SharedLevel:
    """Reads and writes stored responses in a `CacheStore`.

    Args:
        store: The store.
        clock: The cache's clock.
    """

    def __init__(self, store: CacheStore, clock: Callable[[], float]) -> None:
        self.store = store
        self._clock = clock

    async def look(self, facts: Facts) -> tuple[list[StoredResponse], int]:
        """Return what is stored for a request and suits it, and the generation."""
        found = await self.store.get(_digest(facts.key), facts.path)
        now, wall = self._clock(), time.time()
        entries = (from_bytes(data, facts, now, wall - put_at) for put_at, data in found.values)
        return [entry for entry in entries if entry.suits(facts)], found.generation

    async def put(self, entry: StoredResponse, generation: int) -> None:
        """Keep a response as long as it is of use to a process that does not have it."""
        now = self._clock()
        left = entry.fresh_until - now
        if left > 0:
            await self.store.put(
                _digest(entry.key),
                _digest((entry.varied, entry.others, entry.accepts)),
                entry.to_bytes(now),
                ttl=left,
                generation=generation,
                tags=entry.tags,
            )


def _digest(value: Key | object) -> bytes:
    return blake2b(repr(value).encode("utf-8", "surrogateescape"), digest_size=20).digest()
