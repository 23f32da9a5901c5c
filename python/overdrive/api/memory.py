"""The first level of the cache: stored responses in memory, bounded in entries and bytes.

All variants of one resource lie in one immutable `Bucket`, so a look-up needs no lock of ours and
sees old or new, never half. Changes take the lock.

A store that began before a purge must not land after it. Whoever is going to store something holds
a `Ticket` from before asking the application; a purge marks the tickets it concerns, under the same
lock under which a store looks at its ticket.
"""

import threading
from collections.abc import Iterable
from fnmatch import translate
from re import compile as compile_pattern
from typing import NamedTuple

from overdrive.api.entry import StoredResponse
from overdrive.api.request import Key
from overdrive.caches import LRUCache

__all__ = ["Bucket", "MemoryStore", "Ticket"]


class Bucket(NamedTuple):
    """The variants of one resource, the newest first.

    `plain` is the newest one if it suits every request without unknown fields that accepts what the
    first one did.
    """

    variants: tuple[StoredResponse, ...]
    plain: StoredResponse | None
    size: int

    def plain_for(self, accept: bytes, language: bytes | None) -> StoredResponse | None:
        """Return `plain` if it suits what a request accepts."""
        entry = self.plain
        if entry is None or entry.accepts is None:
            return entry
        accepts, speaks = entry.accepts
        return entry if accepts == accept and speaks == language else None

    @classmethod
    def of(cls, variants: tuple[StoredResponse, ...]) -> "Bucket":
        """Make a bucket, adding up the sizes."""
        newest = variants[0]
        plain = newest if not newest.terms.vary and not newest.others else None
        if len(variants) == 1:
            return cls(variants, plain, newest.size)
        return cls(variants, plain, sum(variant.size for variant in variants))


class Ticket:
    """The right to store the answer to one request, unless a purge takes it away."""

    __slots__ = ("generation", "key", "path", "purged_tags", "void")

    def __init__(self, key: Key, path: str) -> None:
        self.key = key
        self.path = path
        self.void = False
        self.generation: int | None = None
        """That of the second level when it was last looked at."""
        self.purged_tags: frozenset[str] = frozenset()


class MemoryStore:
    """Stored responses, the least recently used of which make room. Safe to use by many threads.

    Args:
        max_entries: The most resources.
        max_bytes: The most memory, in bytes.
        max_variants: The most variants of one resource.
    """

    def __init__(self, max_entries: int, max_bytes: int, max_variants: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        # Counting bytes here spares the cache a call back for every change.
        self._buckets: LRUCache[Key, Bucket] = LRUCache(max_entries + 1)
        self._bytes = 0
        self._by_path: dict[str, set[Key]] = {}
        self._by_tag: dict[str, set[Key]] = {}
        self._tickets: set[Ticket] = set()
        self._lock = threading.Lock()
        self.evictions = 0
        self.purged = 0
        self.get = self._buckets.get
        """Look a bucket up by its key and mark it as used; `None` if there is none."""

    def __len__(self) -> int:
        """Return the number of resources."""
        return len(self._buckets)

    @property
    def size_bytes(self) -> int:
        """The memory taken, in bytes."""
        return self._bytes

    def open_ticket(self, key: Key, path: str) -> Ticket:
        """Announce a store; every ticket must be closed."""
        ticket = Ticket(key, path)
        # A single step. A purge that does not see it began before the application is asked.
        self._tickets.add(ticket)
        return ticket

    def close_ticket(self, ticket: Ticket) -> None:
        """Give a ticket back, used or not."""
        self._tickets.discard(ticket)

    def put(self, ticket: Ticket, entry: StoredResponse) -> bool:
        """Store a response in place of those that it replaces.

        Returns:
            Whether it was stored: not if a purge came before, nor if it is too large.
        """
        with self._lock:
            if ticket.void or not ticket.purged_tags.isdisjoint(entry.tags):
                return False
            bucket = self._buckets.get(entry.key)
            if bucket is None:
                return self._place((entry,))
            others = [v for v in bucket.variants if not _replaces(entry, v)]
            self._remove(entry.key)
            return self._place((entry, *others[: self._max_variants - 1]))

    def resize(self, entry: StoredResponse) -> None:
        """Count an entry again, to which a form was added; it may fall out for that."""
        with self._lock:
            bucket = self._buckets.get(entry.key)
            if bucket is not None and any(variant is entry for variant in bucket.variants):
                self._remove(entry.key)
                self._place(bucket.variants)

    def discard(self, entry: StoredResponse) -> None:
        """Remove one variant."""
        with self._lock:
            bucket = self._buckets.get(entry.key)
            if bucket is None:
                return
            variants = tuple(variant for variant in bucket.variants if variant is not entry)
            self._remove(entry.key)
            if variants:
                self._place(variants)

    def purge_paths(self, paths: Iterable[str]) -> int:
        """Remove what is stored for paths, with any host and query; return how much."""
        wanted = set(paths)
        with self._lock:
            for ticket in tuple(self._tickets):
                ticket.void = ticket.void or ticket.path in wanted
            return self._remove_all(key for path in wanted for key in self._by_path.get(path, ()))

    def purge_pattern(self, pattern: str) -> int:
        """Remove what is stored for paths that match a shell pattern (`*`, `?`, `[...]`)."""
        match = compile_pattern(translate(pattern)).match
        with self._lock:
            for ticket in tuple(self._tickets):
                ticket.void = ticket.void or match(ticket.path) is not None
            paths = [path for path in self._by_path if match(path)]
            return self._remove_all(key for path in paths for key in self._by_path[path])

    def purge_tag(self, tag: str) -> int:
        """Remove what was stored with a tag."""
        with self._lock:
            for ticket in tuple(self._tickets):
                ticket.purged_tags |= {tag}
            return self._remove_all(self._by_tag.get(tag, ()))

    def clear(self) -> int:
        """Remove everything."""
        with self._lock:
            for ticket in tuple(self._tickets):
                ticket.void = True
            return self._remove_all(key for keys in self._by_path.values() for key in keys)

    def paths(self) -> list[str]:
        """Return the paths for which something is stored."""
        with self._lock:
            return list(self._by_path)

    def _place(self, variants: tuple[StoredResponse, ...]) -> bool:
        key = variants[0].key
        buckets = self._buckets
        while (bucket := Bucket.of(variants)).size > self._max_bytes:
            variants = variants[:-1]
            if not variants:
                return False
        self._bytes += bucket.size
        buckets[key] = bucket
        while self._bytes > self._max_bytes or len(buckets) > self._max_entries:
            self._unlink(*buckets.popitem())
            self.evictions += 1
        self._link(key, bucket)
        return True

    def _remove(self, key: Key) -> bool:
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            return False
        self._unlink(key, bucket)
        return True

    def _remove_all(self, keys: Iterable[Key]) -> int:
        count = sum(self._remove(key) for key in list(keys))
        self.purged += count
        return count

    def _link(self, key: Key, bucket: Bucket) -> None:
        for variant in bucket.variants:
            self._by_path.setdefault(variant.path, set()).add(key)
            for tag in variant.tags:
                self._by_tag.setdefault(tag, set()).add(key)

    def _unlink(self, key: Key, bucket: Bucket) -> None:
        self._bytes -= bucket.size
        for variant in bucket.variants:
            _drop(self._by_path, variant.path, key)
            for tag in variant.tags:
                _drop(self._by_tag, tag, key)


def _drop(index: dict[str, set[Key]], name: str, key: Key) -> None:
    keys = index.get(name)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[name]


def _replaces(new: StoredResponse, old: StoredResponse) -> bool:
    """Whether requests that the old response answers are answered by the new one."""
    same_requests = new.terms.vary == old.terms.vary and new.selecting == old.selecting
    return same_requests and (
        new.accepts is None or (new.others == old.others and new.accepts == old.accepts)
    )
