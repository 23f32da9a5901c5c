"""What a pool knows about its database, and who has to hear when that changes."""

import asyncio
import contextlib
import random
from collections.abc import Callable

from overdrive.database import catalog
from overdrive.database.analysis import Analyst, Verdict
from overdrive.database.config import DatabaseConfig
from overdrive.database.node import Node
from overdrive.database.query_cache import QueryCache

__all__ = ["Knowledge"]


class Knowledge:
    """Judges statements by the catalogs, and passes on what statements do.

    It is the observer of all connections. While the catalogs are being read again, nothing is known
    about any statement, so each is treated as one that may do anything.

    Args:
        config: Settings of the pool.
        cache: Drops what has changed.
        randomness: For the time of the next reading.
    """

    def __init__(
        self, config: DatabaseConfig, cache: QueryCache, randomness: random.Random
    ) -> None:
        self.analyst = Analyst(config.statement_size)
        self.on_write: list[Callable[[], None]] = []
        self.on_schema: list[Callable[[], None]] = []
        self._config = config
        self._cache = cache
        self._random = randomness
        self._node: Node | None = None
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def look(self, text: str) -> Verdict:
        """Say what is known about a text."""
        return self.analyst.look(text)

    def changed(self, effects: frozenset[int] | None) -> None:
        """Take note that tables may have changed, now."""
        self._cache.invalidate(effects)
        for tell in self.on_write:
            tell()

    def row_changed(self, row: tuple[int, int]) -> None:
        """Take note that one row has changed, and nothing else."""
        self._cache.invalidate_row(row)
        for tell in self.on_write:
            tell()

    def changed_elsewhere(self, table: int) -> None:
        """Take note that somebody has changed a table."""
        found = self.analyst.catalog
        if found is None or table not in found.relations:
            self._cache.flush()
            return
        effects = found.written_by([table])
        # What the triggers of the table change has triggers of its own, which tell of it.
        self._cache.invalidate(effects)

    def doubt(self, effects: frozenset[int] | None) -> None:
        """Take note that tables may change at any time from now on, until `settle`."""
        self._cache.doubt(effects)

    def settle(self, effects: frozenset[int] | None) -> None:
        """Take note that what `doubt` told of has ended."""
        self._cache.settle(effects)
        for tell in self.on_write:
            tell()

    def schema_changed(self) -> None:
        """Take note that what the catalogs say may have changed, now."""
        self._version += 1
        self.analyst.stale = True
        self._cache.flush()
        for tell in self.on_schema:
            tell()
        if self._node is not None:
            self._reload_soon()

    async def start(self, node: Node, *, now: bool) -> None:
        """Read the catalogs by a connection of this node, at once or when there is one."""
        self._node = node
        if now:
            await self.reload()
        else:
            self.analyst.stale = True
            self._reload_soon()

    async def close(self) -> None:
        """Read nothing any more."""
        self.stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    def stop(self) -> None:
        """Read nothing any more, without waiting for the end of it."""
        self._node = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def reload(self) -> None:
        """Read the catalogs."""
        node = self._node
        if node is None:
            return
        version = self._version
        slot = await node.take(node.loop.time() + self._config.acquire_timeout)
        slot.connection.tracking = None
        try:
            found = await catalog.load(slot.connection, timeout=self._config.acquire_timeout)
        except BaseException:
            slot.tracking.touched = True
            raise
        finally:
            slot.connection.tracking = slot.tracking
            node.give(slot, own=True)
        if version == self._version:
            if self.analyst.catalog is None or vars(found) != vars(self.analyst.catalog):
                self._cache.flush()
                self.analyst.learn(found)
                for tell in self.on_schema:
                    tell()
            self.analyst.stale = False
            self._reload_later()

    def _reload_soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload_until_fresh())

    def _reload_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = self._config.catalog_ttl * self._random.uniform(0.9, 1.0)
        self._timer = asyncio.get_running_loop().call_later(wait, self._reload_soon)

    async def _reload_until_fresh(self) -> None:
        pause = 0.05
        while self._node is not None:
            with contextlib.suppress(Exception):
                await self.reload()
                if not self.analyst.stale:
                    return
                continue
            # Until it succeeds, nothing is known about any statement.
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
