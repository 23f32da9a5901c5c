"""How connections are opened."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from overdrive.database import _asyncpg
from overdrive.database._asyncpg import Connection
from overdrive.database._secrets import passwords_in
from overdrive.database.config import DatabaseConfig
from overdrive.database.errors import PoolMisuseError
from overdrive.database.tracked import tracked_class

__all__ = ["Driver", "Hooks"]

Hook = Callable[[Connection], Awaitable[None]]


@dataclass(slots=True)
class Hooks:
    """Functions of the user's, as asyncpg.Pool takes them."""

    init: Hook | None = None
    setup: Hook | None = None
    reset: Hook | None = None


@dataclass(slots=True)
class Driver:
    """How to connect, in asyncpg's words.

    Attributes:
        args: The address, or nothing.
        options: Options of `asyncpg.connect`.
        connect: Called instead of it.
        connection_class: A subclass of `asyncpg.Connection`.
        record_class: A subclass of `asyncpg.Record`.
        hooks: Functions of the user's.
    """

    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    connect: Callable[..., Awaitable[Connection]] | None = None
    connection_class: type | None = None
    record_class: Any = None
    hooks: Hooks = field(default_factory=Hooks)

    def __repr__(self) -> str:
        """Say nothing that may be secret."""
        return f"<{type(self).__name__}>"

    def secrets(self) -> set[str]:
        """Return all passwords in it."""
        password = self.options.get("password")
        found = set() if not password or callable(password) else {str(password)}
        for text in self.args:
            found |= passwords_in(str(text))
        return found

    async def open(self, config: DatabaseConfig, **settings: str) -> Connection:
        """Open a connection.

        Args:
            config: Settings of the pool.
            settings: Settings of the server that win over all others.
        """
        options = {
            "statement_cache_size": config.statement_cache_size,
            "command_timeout": config.command_timeout,
            **self.options,
        }
        own = self.options.get("server_settings") or {}
        options["server_settings"] = {**config.server_settings, **own, **settings}
        if self.record_class is not None:
            options["record_class"] = self.record_class
        options["connection_class"] = tracked_class(self.connection_class)
        connection = await _asyncpg.connect_with(self.connect, *self.args, **options)
        if not hasattr(connection, "untracked"):
            connection.terminate()
            raise PoolMisuseError("connect must pass its connection_class on to asyncpg.connect")
        if self.hooks.init is not None:
            try:
                await self.hooks.init(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection
