"""PostgreSQL for agents: a pool with a query cache, an embedded server, a place for states."""

import importlib
from typing import TYPE_CHECKING, Any

from overdrive.database.config import DatabaseConfig
from overdrive.database.embedded import EmbeddedPostgres
from overdrive.database.errors import (
    ConnectError,
    DatabaseNotInitializedError,
    PartialWriteError,
    PoolClosedError,
    PoolMisuseError,
    PoolTimeoutError,
    TooManyWaitersError,
    UnknownStatementError,
)
from overdrive.database.state_sink import PostgresStateSink

if TYPE_CHECKING:
    from overdrive.database.optimized_db import (
        OptimizedConnectionPool,
        close_optimized_db,
        create_pool,
        execute_many,
        execute_prepared,
        execute_query,
        get_connection,
        get_db_statistics,
        initialize_optimized_db,
        prepare_statement,
    )

__all__ = [
    "ConnectError",
    "DatabaseConfig",
    "DatabaseNotInitializedError",
    "EmbeddedPostgres",
    "OptimizedConnectionPool",
    "PartialWriteError",
    "PoolClosedError",
    "PoolMisuseError",
    "PoolTimeoutError",
    "PostgresStateSink",
    "TooManyWaitersError",
    "UnknownStatementError",
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


def __getattr__(name: str) -> Any:
    """Import what needs the extra `database` when it is first asked for."""
    if name in __all__:
        return getattr(importlib.import_module("overdrive.database.optimized_db"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
