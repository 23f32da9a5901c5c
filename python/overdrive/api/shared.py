"""What a second level of the cache must do, which several processes share."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

__all__ = ["CacheStore", "Found", "Purge"]


class Purge(NamedTuple):
    """Something to be forgotten by all processes.

    Attributes:
        kind: `paths`, `pattern`, `tag` or `all`.
        names: The paths, the one pattern, the one tag, or nothing.
    """

    kind: str
    names: tuple[str, ...]


class Found(NamedTuple):
    """What a store has for a key.

    Attributes:
        values: The variants, with the Unix times at which they were put.
        generation: To be given back when an answer is put that was asked for after this look.
    """

    values: Sequence[tuple[float, bytes]]
    generation: int


class CacheStore(Protocol):
    """Keeps responses for several processes.

    Any method may fail or be slow: the cache counts it and goes on without. Methods are called from
    any event loop.
    """

    async def get(self, key: bytes) -> Found:
        """Look up all variants of a resource."""

    async def put(
        self,
        key: bytes,
        variant: bytes,
        value: bytes,
        *,
        ttl: float,
        generation: int,
        path: str,
        tags: Iterable[str],
    ) -> bool:
        """Keep a variant for `ttl` seconds, unless anything was purged since that generation.

        Returns:
            Whether it was kept.
        """

    async def purge(self, purge: Purge) -> None:
        """Forget what is meant, stop puts that began before, and tell the other processes."""

    def watch(self, on_purge: Callable[[Purge], object]) -> None:
        """Call a function for what other processes purge, and for `all` after any loss of touch."""

    async def close(self) -> None:
        """Let go of connections. They come back when wanted; a second call does nothing."""
