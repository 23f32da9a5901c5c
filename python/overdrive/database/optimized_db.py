"""One pool for the whole program, and functions that use it."""

import os
from typing import Any

from overdrive.database.config import DatabaseConfig
from overdrive.database.create import create_pool
from overdrive.database.errors import DatabaseNotInitializedError
from overdrive.database.lease import Lease
from overdrive.database.pool import OptimizedConnectionPool

__all__ = [
    "DatabaseConfig",
    "OptimizedConnectionPool",
    "close_optimized_db",
    "create_pool",
    "execute_many",
    "execute_prepared",
    "execute_query",
    "get_connection",
    "get_db_statistics",
    "initialize_optimized_db",
    "prepare_statement",
]

_pools: dict[int, OptimizedConnectionPool] = {}
"""The pool of this process; a forked child finds none."""


async def initialize_optimized_db(config: DatabaseConfig | None = None) -> OptimizedConnectionPool:
    """Open the pool of this program, and close the one that was open before.

    Args:
        config: Settings. Without an address, the embedded PostgreSQL is started, in a data
            directory of the user's.

    Returns:
        The pool, which the other functions of this module use.

    Raises:
        MissingExtraError: If no address is configured and the extra `embedded` is missing.
        OSError: If the server cannot be reached.
    """
    pool = OptimizedConnectionPool(config)
    await pool.initialize()
    await close_optimized_db()
    _pools[os.getpid()] = pool
    return pool


def _pool() -> OptimizedConnectionPool:
    pool = _pools.get(os.getpid())
    if pool is None:
        raise DatabaseNotInitializedError("call `await initialize_optimized_db()` first")
    return pool


async def execute_query(query: str, *args: Any, **options: Any) -> list[Any]:
    """Run one statement and return its rows; see `OptimizedConnectionPool.execute_query`."""
    return await _pool().execute_query(query, *args, **options)


async def execute_many(query: str, args: Any, **options: Any) -> int:
    """Run a statement many times; see `OptimizedConnectionPool.execute_many`."""
    return await _pool().execute_many(query, args, **options)


async def prepare_statement(query: str) -> str:
    """Return a handle for a statement; see `OptimizedConnectionPool.prepare_statement`."""
    return await _pool().prepare_statement(query)


async def execute_prepared(handle: str, *args: Any, **options: Any) -> list[Any]:
    """Run a prepared statement; see `OptimizedConnectionPool.execute_prepared`."""
    return await _pool().execute_prepared(handle, *args, **options)


def get_connection(*, timeout: float | None = None) -> Lease:
    """Borrow a connection, by `async with` or `await`."""
    return _pool().acquire(timeout=timeout)


async def get_db_statistics() -> dict[str, Any]:
    """Return statistics; see `OptimizedConnectionPool.get_statistics`."""
    return _pool().get_statistics()


async def close_optimized_db() -> None:
    """Close the pool of this program. Twice does no harm."""
    pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        await pool.close()
