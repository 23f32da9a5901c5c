"""Pools for programs written for asyncpg's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from overdrive.database._asyncpg import Connection
from overdrive.database.config import DatabaseConfig
from overdrive.database.driver import Driver, Hooks
from overdrive.database.pool import OptimizedConnectionPool

__all__ = ["create_pool"]


def create_pool(
    dsn: str | None = None,
    *,
    init_size: int | None = None,
    min_size: int = 10,
    max_size: int = 10,
    max_queries: int = 50_000,
    max_inactive_connection_lifetime: float = 300.0,
    connect: Callable[..., Any] | None = None,
    setup: Callable[[Connection], Awaitable[None]] | None = None,
    init: Callable[[Connection], Awaitable[None]] | None = None,
    reset: Callable[[Connection], Awaitable[None]] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type | None = None,
    record_class: Any = None,
    config: DatabaseConfig | None = None,
    **connect_options: Any,
) -> OptimizedConnectionPool:
    """Make a pool with the arguments of `asyncpg.create_pool`; open it by `await` or `async with`.

    Args:
        dsn: Address, as for asyncpg.
        init_size: How many connections are opened at first; here always `min_size`.
        min_size: How many are kept open.
        max_size: How many may be open.
        max_queries: How often one is handed out before it is replaced.
        max_inactive_connection_lifetime: How long a superfluous one may be idle; 0 is for ever.
        connect: Used instead of `asyncpg.connect`; must pass `connection_class` on to it.
        setup: Called with each connection that is handed out. Results are not cached then.
        init: Called with each new connection.
        reset: Called with each connection that is given back, instead of the usual clean-up.
        loop: Ignored: the pool belongs to the loop it is opened on.
        connection_class: A subclass of `asyncpg.Connection`.
        record_class: A subclass of `asyncpg.Record`.
        config: Everything else; its sizes and address are not used.
        connect_options: For `asyncpg.connect`.
    """
    if max_size <= 0:
        raise ValueError(f"max_size must be positive, got {max_size!r}")
    if min_size < 0 or min_size > max_size:
        raise ValueError(f"min_size must be from 0 to max_size ({max_size}), got {min_size!r}")
    if init_size is not None and not min_size <= init_size <= max_size:
        raise ValueError(f"init_size must be from min_size to max_size, got {init_size!r}")
    base = DatabaseConfig(auto_scaling_enabled=False) if config is None else config
    del loop
    return OptimizedConnectionPool(
        replace(
            base,
            min_connections=min_size,
            max_connections=max_size,
            max_queries=max_queries,
            max_inactive_lifetime=max_inactive_connection_lifetime or float("inf"),
        ),
        driver=Driver(
            () if dsn is None else (dsn,), connect_options, connect, connection_class,
            record_class, Hooks(init, setup, reset),
        ),
    )  # fmt: skip
