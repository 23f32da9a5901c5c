"""Connections in the hands of users."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from overdrive.database import _asyncpg
from overdrive.database._asyncpg import Connection
from overdrive.database.errors import PoolMisuseError
from overdrive.database.node import Node, Slot

__all__ = ["Lease", "give_back", "take"]


class Lease:
    """A connection to be borrowed: awaitable, and usable by `async with`.

    Args:
        take: Borrows a connection.
        give: Gives it back.
    """

    __slots__ = ("_connection", "_give", "_take", "_used")

    def __init__(
        self,
        take: Callable[[], Awaitable[Connection]],
        give: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._take = take
        self._give = give
        self._connection: Connection = None
        self._used = False

    async def __aenter__(self) -> Connection:
        """Borrow a connection."""
        if self._used:
            raise PoolMisuseError("this was used already; ask the pool again")
        self._used = True
        self._connection = await self._take()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        connection, self._connection = self._connection, None
        await self._give(connection)

    def __await__(self) -> Generator[Any, None, Connection]:
        """Borrow a connection, which is given back by the pool's `release`."""
        self._used = True
        return self._take().__await__()


async def take(node: Node, deadline: float) -> Connection:
    """Borrow a connection and prepare it."""
    slot = node.take_now() or await node.take(deadline)
    connection = node.lend(slot)
    await node.prepare(slot, deadline)
    return connection


async def give_back(connection: Connection, nodes: list[Node], timeout: float | None) -> None:
    """Give a connection back, and wait until its session is clean."""
    slot = _asyncpg.holder_of(connection)
    if not isinstance(slot, Slot) or slot._pool not in nodes:
        raise PoolMisuseError(f"not a connection of this pool: {connection!r}")
    if slot.proxy is not connection:
        return
    cleaning = slot._pool.give(slot)
    if cleaning is not None:
        await asyncio.wait({cleaning}, timeout=timeout)
