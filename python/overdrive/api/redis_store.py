"""A second level of the cache in Redis or Valkey.

Nothing is looked for in order to be deleted. Each response carries the server's time from before
the application was asked for it; a purge writes down the server's time under what it means (a
path, a tag, a pattern, everything). A response is valid if it is younger than every purge that
means it. So a purge costs the same however much is stored, and a response that was asked for before
a purge is invalid even if it is put after it, by whatever process.

Purges are also published, so that other processes forget what they have in memory. A process that
was out of touch has missed purges, so it forgets everything when it is back. A purge that could
not be written down is kept and written before anything is read again.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from overdrive.api.compression import logger
from overdrive.api.shared import Found, Purge

__all__ = ["RedisStore"]

_MAX_PATTERNS = 256
_MAX_PENDING = 1024


class RedisStore:
    """Keeps responses in Redis or Valkey, for all processes that use the same prefix.

    If the server does not answer it is left alone for a while, and the cache goes on with its
    memory. Needs the extra `redis`. Not for Redis Cluster.

    Args:
        url: Where the server is, for instance `redis://localhost:6379/0`.
        prefix: Before all keys, and in the name of the channel.
        timeout: Seconds in which an operation must be done.
        retry_after: Seconds for which a server that failed is left alone.
        max_ttl: The most seconds that anything is kept.
        max_variants: The most variants of one resource.

    Raises:
        MissingExtraError: If the extra `redis` is not installed.
        ValueError: If an option is not positive.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "overdrive",
        timeout: float = 0.25,
        retry_after: float = 1.0,
        max_ttl: float = 86_400.0,
        max_variants: int = 16,
    ) -> None:
        from overdrive.api._redis import connect  # noqa: PLC0415 - of the extra

        for name, value in (("timeout", timeout), ("max_ttl", max_ttl)):
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        self._connect: Callable[[], Any] = partial(connect, url, timeout)
        self._prefix = prefix
        self._timeout = timeout
        self._retry_after = retry_after
        self._max_ttl = max_ttl
        self._max_variants = max_variants
        self._own_id = uuid4().hex
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = (
            WeakKeyDictionary()
        )
        self._on_purge: Callable[[Purge], object] | None = None
        self._resting_until = 0.0
        self._pending: list[Purge] = []

    def watch(self, on_purge: Callable[[Purge], object]) -> None:
        """Call a function for purges of other processes, and for `all` after being out of touch."""
        self._on_purge = on_purge

    async def ready(self) -> None:
        """Come into touch with the server and with the other processes."""
        await self._client()

    async def get(self, key: bytes, path: str) -> Found:
        """Look up all valid variants of a resource."""
        client = await self._client()
        async with self._in_time():
            pipe = client.pipeline(transaction=False)
            pipe.time()
            pipe.hgetall(self._name("entry", key.hex()))
            pipe.mget(self._name("path", path), self._name("all"))
            pipe.hgetall(self._name("patterns"))
            (seconds, micros), stored, purges, patterns = await pipe.execute()
            oldest = max((int(at) for at in purges if at), default=0)
            oldest = max(oldest, _latest_match(patterns, path))
            values = [_Value.read(data) for data in stored.values()]
            values = [value for value in values if value.generation > oldest]
            values = await self._without_purged_tags(client, values)
        values.sort(key=lambda value: -value.put_at)
        found = [(value.put_at, value.data) for value in values]
        return Found(found, int(seconds) * 1_000_000 + int(micros))

    async def _without_purged_tags(self, client: Any, values: Sequence["_Value"]) -> list["_Value"]:
        tags = sorted({tag for value in values for tag in value.tags})
        if not tags:
            return list(values)
        purged = dict(zip(tags, await client.hmget(self._name("tags"), tags), strict=True))
        return [
            value
            for value in values
            if all(value.generation > int(purged[tag] or 0) for tag in value.tags)
        ]

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
        """Keep a variant for `ttl` seconds, marked with the generation of the look before."""
        client = await self._client()
        name = self._name("entry", key.hex())
        data = _Value(generation, time.time(), tuple(tags), value).write()
        async with self._in_time():
            pipe = client.pipeline(transaction=False)
            pipe.hset(name, variant, data)
            pipe.pexpire(name, max(1, int(min(ttl, self._max_ttl) * 1000)))
            pipe.hlen(name)
            if (await pipe.execute())[2] > self._max_variants:
                await client.delete(name)

    async def purge(self, purge: Purge) -> None:
        """Make what is meant invalid, and tell the other processes."""
        if len(self._pending) >= _MAX_PENDING:
            self._pending = [Purge("all", ())]
        self._pending.append(purge)
        await self._client()

    async def _client(self) -> Any:
        """Return a client of this loop, with all purges written down."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._resting_until:
            raise ConnectionError("the shared cache failed a moment ago and is left alone")
        connection = self._clients.get(loop)
        if connection is None:
            connection = self._clients[loop] = _Connection(self._connect())
            if self._on_purge is not None:
                connection.watching = loop.create_task(self._watch(connection))
        if connection.watching is not None and not connection.in_touch.is_set():
            # What is read now must not miss a purge that comes a moment later.
            async with self._in_time():
                await connection.in_touch.wait()
        while self._pending:
            async with self._in_time():
                await self._write_down(connection.client, self._pending[0])
            del self._pending[:1]
        return connection.client

    async def _write_down(self, client: Any, purge: Purge) -> None:
        seconds, micros = await client.time()
        now = int(seconds) * 1_000_000 + int(micros)
        lifetime = int(self._max_ttl) + 1
        pipe = client.pipeline(transaction=False)
        if purge.kind == "paths":
            for path in purge.names:
                pipe.set(self._name("path", path), now, ex=lifetime)
        elif purge.kind == "all" or await client.hlen(self._name("patterns")) >= _MAX_PATTERNS:
            pipe.set(self._name("all"), now, ex=lifetime)
            pipe.delete(self._name("patterns"))
        else:
            name = self._name("tags" if purge.kind == "tag" else "patterns")
            for each in purge.names:
                pipe.hset(name, each, now)
            pipe.expire(name, lifetime)
        message = json.dumps([self._own_id, purge.kind, *purge.names])
        pipe.publish(self._name("purges"), message)
        await pipe.execute()

    @contextlib.asynccontextmanager
    async def _in_time(self) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except Exception:
            self._resting_until = asyncio.get_running_loop().time() + self._retry_after
            raise

    async def _watch(self, connection: "_Connection") -> None:
        """Follow what other processes purge, for ever."""
        while True:
            try:
                await self._follow(connection)
            except Exception as error:  # noqa: BLE001 - the connection comes back or not
                logger.debug("out of touch with the shared cache: %r", error)
            connection.in_touch.clear()
            await asyncio.sleep(self._retry_after)

    async def _follow(self, connection: "_Connection") -> None:
        async with connection.client.pubsub() as channel:
            await channel.subscribe(self._name("purges"))
            while True:
                message = await channel.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    # Who knows what was purged before we listened.
                    self._tell(Purge("all", ()))
                    connection.in_touch.set()
                elif message["type"] == "message":
                    sender, kind, *names = json.loads(message["data"])
                    if sender != self._own_id:
                        self._tell(Purge(kind, tuple(names)))

    def _tell(self, purge: Purge) -> None:
        if self._on_purge is not None:
            self._on_purge(purge)

    def _name(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def close(self) -> None:
        """Close the connections of this loop. They come back when wanted."""
        connection = self._clients.pop(asyncio.get_running_loop(), None)
        if connection is None:
            return
        if connection.watching is not None:
            connection.watching.cancel()
            await asyncio.gather(connection.watching, return_exceptions=True)
        await connection.client.aclose()


class _Connection:
    """A client of one loop, and the task that follows purges by it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.watching: asyncio.Task[None] | None = None
        self.in_touch = asyncio.Event()


class _Value:
    """A response as it is kept: when it was asked for, when it was put, its tags, and itself."""

    __slots__ = ("data", "generation", "put_at", "tags")

    def __init__(self, generation: int, put_at: float, tags: tuple[str, ...], data: bytes) -> None:
        self.generation = generation
        self.put_at = put_at
        self.tags = tags
        self.data = data

    def write(self) -> bytes:
        head = json.dumps([self.generation, self.put_at, self.tags]).encode()
        return head + b"\n" + self.data

    @classmethod
    def read(cls, written: bytes) -> "_Value":
        head, _, data = written.partition(b"\n")
        generation, put_at, tags = json.loads(head)
        return cls(int(generation), float(put_at), tuple(tags), data)


def _latest_match(patterns: Mapping[bytes, bytes], path: str) -> int:
    ages = (int(at) for pattern, at in patterns.items() if fnmatchcase(path, pattern.decode()))
    return max(ages, default=0)
