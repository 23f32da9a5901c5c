"""Which server a read goes to.

A replica may be behind. How far is measured in positions of the write-ahead log, because a replica
of an idle primary has replayed nothing for long and is not behind at all. After a write through the
pool, a read goes to a replica only if that has replayed the position the primary had after the
write.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from overdrive.database._asyncpg import Connection
from overdrive.database.config import DatabaseConfig
from overdrive.database.node import Node

__all__ = ["Replica", "Replicas"]

_LOOK_SECONDS = 0.1
_PRIMARY = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_REPLICA = """
    select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0),
        current_setting('default_transaction_read_only') = 'on'
"""


@dataclass(slots=True, eq=False)
class Replica:
    """One replica and how far it is.

    Attributes:
        node: Its connections.
        usable: Whether it answers, is a replica, and its connections refuse writes.
        replayed: The position up to which it has replayed.
        lag: For how many seconds, at most, it has been behind the primary.
        reads: How many reads it got.
    """

    node: Node
    usable: bool = False
    replayed: int = 0
    lag: float = float("inf")
    reads: int = 0
    last_error: str | None = None


class Replicas:
    """Chooses servers for reads.

    Args:
        primary: Where everything else goes.
        nodes: The replicas.
        config: Settings of the pool.
    """

    def __init__(self, primary: Node, nodes: list[Node], config: DatabaseConfig) -> None:
        self.all = [Replica(node) for node in nodes]
        self.fallbacks = 0
        self._primary = primary
        self._config = config
        self._strict = config.read_consistency == "pool"
        self._written = 0
        self._needed = (0, 0)
        self._asking: asyncio.Task[None] | None = None
        self._history: deque[tuple[float, int]] = deque(maxlen=1200)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to look at the replicas. One that does not answer is tried again later."""
        await self._note_primary()
        for replica in self.all:
            with contextlib.suppress(Exception):
                await replica.node.start(0)
                await self._look_at(replica)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow_primary())]
        self._tasks += [loop.create_task(self._follow(replica)) for replica in self.all]

    async def close(self) -> None:
        """Close the connections to the replicas."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(replica.node.close() for replica in self.all))

    def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def terminate(self) -> None:
        """Close all connections to the replicas at once."""
        self.stop()
        for replica in self.all:
            replica.node.terminate()

    def wrote(self) -> None:
        """Take note that something was, or may have been, committed."""
        self._written += 1

    async def choose(self) -> Node:
        """Return where a read goes: the least busy replica that is far enough, or the primary."""
        needed = 0
        if self._strict and self._written:
            needed = await self._position()
        usable = [
            replica
            for replica in self.all
            if replica.usable
            and replica.replayed >= needed
            and replica.lag <= self._config.max_replica_lag
        ]
        if not usable:
            self.fallbacks += 1
            return self._primary
        best = min(usable, key=lambda r: (r.node.in_use + r.node.waiting, r.reads))
        best.reads += 1
        return best.node

    def failed(self, node: Node, error: BaseException) -> None:
        """Take a replica out until it answers again."""
        for replica in self.all:
            if replica.node is node:
                replica.usable = False
                replica.last_error = type(error).__name__

    async def _position(self) -> int:
        """Return a position of the primary that is after all writes so far."""
        while self._needed[0] < self._written:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.get_running_loop().create_task(self._ask())
            await asyncio.shield(self._asking)
        return self._needed[1]

    async def _ask(self) -> None:
        written = self._written
        self._needed = (written, await self._note_primary())

    async def _note_primary(self) -> int:
        position = int(await _value(self._primary, _PRIMARY, self._config))
        self._history.append((self._primary.loop.time(), position))
        return position

    async def _follow_primary(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                await self._note_primary()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self, replica: Replica) -> None:
        while True:
            try:
                await self._look_at(replica)
            except Exception as error:  # noqa: BLE001 - taken out until it answers
                replica.usable = False
                replica.last_error = type(error).__name__
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look_at(self, replica: Replica) -> None:
        seen_at = self._primary.loop.time()
        rows = await _rows(replica.node, _REPLICA, self._config)
        is_replica, replayed, read_only = rows[0]
        replica.replayed = int(replayed)
        replica.lag = self._lag(replica.replayed, seen_at)
        replica.usable = is_replica and read_only
        replica.last_error = None

    def _lag(self, replayed: int, now: float) -> float:
        """Return for how long the primary has been further than this."""
        if self._history and replayed >= self._history[-1][1]:
            return 0.0
        reached = [time for time, position in self._history if position <= replayed]
        return now - reached[-1] if reached else float("inf")


async def _rows(node: Node, query: str, config: DatabaseConfig) -> list[Connection]:
    seconds = config.health_check_timeout
    slot = node.take_now() or await node.take(node.loop.time() + seconds)
    try:
        rows: list[Connection] = await node.call("fetch", slot.connection, query, timeout=seconds)
    except BaseException:
        node.end(slot)
        raise
    node.give(slot, own=True)
    return rows


async def _value(node: Node, query: str, config: DatabaseConfig) -> int:
    return int((await _rows(node, query, config))[0][0])
