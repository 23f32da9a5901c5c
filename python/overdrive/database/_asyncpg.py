"""Everything that touches the package `asyncpg`; imported when it is first wanted."""

from collections.abc import Callable
from typing import Any, TypeAlias

from overdrive.errors import missing_extra

try:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy
except ImportError as error:
    raise missing_extra("asyncpg", "database") from error

__all__ = [
    "FAILURES",
    "BaseConnection",
    "Connection",
    "PostgresError",
    "Record",
    "connect",
    "connect_with",
    "holder_of",
    "is_confused",
    "is_connection_lost",
    "is_hopeless",
    "is_limit_reached",
    "is_outdated_statement",
    "lend",
    "take_back",
]

# asyncpg has no types.
Connection: TypeAlias = Any

FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised when the server refuses, or is no longer there."""

BaseConnection: Any = asyncpg.Connection
Record: Any = asyncpg.Record
PostgresError: type[Exception] = asyncpg.PostgresError

_HOPELESS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.exceptions.UndefinedObjectError,
    asyncpg.exceptions.InvalidParameterValueError,
    asyncpg.exceptions.CantChangeRuntimeParamError,
    asyncpg.exceptions.InsufficientPrivilegeError,
)


async def connect(dsn: str, *, timeout: float) -> Connection:
    """Open a connection whose statements may each take `timeout` seconds."""
    return await asyncpg.connect(dsn, timeout=timeout, command_timeout=timeout)


async def connect_with(
    connect: Callable[..., Any] | None, *args: Any, **options: Any
) -> Connection:
    """Open a connection with any options of asyncpg's, or by a function of the user's."""
    return await (connect or asyncpg.connect)(*args, **options)


def is_connection_lost(error: BaseException) -> bool:
    """Whether a new connection may succeed where this one failed."""
    return isinstance(
        error,
        OSError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        | asyncpg.InterfaceError
        | asyncpg.InternalClientError,
    ) and not isinstance(error, TimeoutError | asyncpg.QueryCanceledError)


def is_confused(error: BaseException) -> bool:
    """Whether asyncpg and the server have different ideas of what is going on."""
    return isinstance(error, asyncpg.InternalClientError | asyncpg.PostgresConnectionError)


def is_hopeless(error: BaseException) -> bool:
    """Whether connecting fails for a reason that another attempt will not cure."""
    return isinstance(error, (*_HOPELESS, TypeError, ValueError)) and not isinstance(
        error, UnicodeError
    )


def is_limit_reached(error: BaseException) -> bool:
    """Whether the server has as many connections as it allows."""
    return isinstance(error, asyncpg.TooManyConnectionsError)


def is_outdated_statement(error: BaseException) -> bool:
    """Whether a statement was prepared for a table that has changed since."""
    return isinstance(
        error,
        asyncpg.InvalidCachedStatementError
        | asyncpg.exceptions.OutdatedSchemaCacheError
        | asyncpg.InvalidSQLStatementNameError,
    )


def lend(holder: Any, connection: Connection) -> Connection:
    """Wrap a connection so that it can be taken back; also `isinstance(..., asyncpg.Connection)`.

    Args:
        holder: Has an attribute `_pool` with `_drop_statement_cache` and `_drop_type_cache`, which
            asyncpg calls when the schema has changed.
        connection: What to wrap.
    """
    return PoolConnectionProxy(holder, connection)


def holder_of(proxy: Connection) -> Any:
    """Return the holder that a wrapper was made for; `None` if it is no wrapper."""
    return proxy._holder if isinstance(proxy, PoolConnectionProxy) else None


def take_back(proxy: Connection) -> None:
    """Make a wrapper unusable, and everything that was made by it."""
    connection = proxy._detach()
    if connection is not None:
        connection._on_release()
