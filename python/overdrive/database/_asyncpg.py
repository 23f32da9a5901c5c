"""Everything that touches the package `asyncpg`; imported when it is first wanted."""

from typing import Any, TypeAlias

from overdrive.errors import missing_extra

try:
    import asyncpg
except ImportError as error:
    raise missing_extra("asyncpg", "database") from error

__all__ = ["FAILURES", "Connection", "connect", "is_connection_lost"]

# asyncpg has no types.
Connection: TypeAlias = Any

FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised when the server refuses, or is no longer there."""


async def connect(dsn: str, *, timeout: float) -> Connection:  # noqa: ASYNC109 - a driver's option
    """Open a connection whose statements may each take `timeout` seconds."""
    return await asyncpg.connect(dsn, timeout=timeout, command_timeout=timeout)


def is_connection_lost(error: BaseException) -> bool:
    """Whether a new connection may succeed where this one failed."""
    return isinstance(
        error,
        OSError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        | asyncpg.InterfaceError,
    ) and not isinstance(error, TimeoutError | asyncpg.QueryCanceledError)
