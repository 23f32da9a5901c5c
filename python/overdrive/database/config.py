"""What a pool can be told."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overdrive.database._secrets import hide_passwords

__all__ = ["DatabaseConfig"]

_POSITIVE = (
    "max_connections", "acquire_timeout", "connect_timeout", "max_lifetime",
    "max_inactive_lifetime", "max_queries", "health_check_interval",
    "health_check_timeout", "catalog_ttl",
)  # fmt: skip
_NOT_NEGATIVE = (
    "min_connections", "query_cache_size", "query_cache_ttl", "slow_query_threshold",
    "check_idle_after", "statement_size", "max_cached_rows",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class DatabaseConfig:
    """Settings of a pool. Times are seconds.

    Attributes:
        database_url: Address of the primary, as asyncpg takes it; `None` is the embedded server.
        read_replica_urls: Addresses of streaming replicas.
        data_dir: Where the embedded server keeps its data; `None` is a directory of the user's.
        min_connections: How many connections are kept open, per server.
        max_connections: How many may be open, per server.
        auto_scaling_enabled: Whether to grow step by step and stop where the server is the
            bottleneck; otherwise the pool grows to `max_connections` as soon as callers wait.
        acquire_timeout: How long a caller waits for a connection, connecting and checking included.
        max_waiting: How many callers may wait; `None` is no bound.
        connect_timeout: How long one attempt to connect may take.
        command_timeout: How long a statement may take; `None` is no bound.
        max_lifetime: Age at which a connection is replaced, up to a tenth earlier by chance.
        max_inactive_lifetime: How long a connection beyond the minimum may be idle.
        max_queries: How often a connection is handed out before it is replaced.
        health_check_interval: Time between checks of idle connections, and of replicas.
        health_check_timeout: How long a check, or the clean-up of a connection, may take.
        check_idle_after: A connection idle for longer is checked before it is handed out.
        leak_threshold: A connection held for longer is reported, with the line that took it; `None`
            is never.
        query_cache_size: How many results the query cache holds; 0 is none.
        query_cache_ttl: How long a result is used at most.
        max_cached_rows: A result with more rows is not kept.
        track_changes: Whether to learn of writes by others, by triggers and `LISTEN`.
        listen_url: Address of the primary for `LISTEN`, where `database_url` is a pooler's.
        slow_query_threshold: A statement that takes longer is logged and counted.
        statement_size: How many statement texts are remembered with what is known of them.
        statement_cache_size: How many prepared statements asyncpg keeps per connection; 0 for
            PgBouncer before 1.21 in transaction mode.
        catalog_ttl: Age at which what is known of tables, views and functions is read again; so
            long can a change by others go unnoticed.
        max_replica_lag: A replica that is further behind gets no reads.
        read_consistency: `"pool"`: a read sees every write that this pool has finished;
            `"eventual"`: it may be as old as `max_replica_lag`.
        server_settings: Settings of the server for every connection.
    """

    database_url: str | None = None
    read_replica_urls: Sequence[str] = ()
    data_dir: str | os.PathLike[str] | None = None
    min_connections: int = 2
    max_connections: int = 20
    auto_scaling_enabled: bool = True
    acquire_timeout: float = 30.0
    max_waiting: int | None = None
    connect_timeout: float = 10.0
    command_timeout: float | None = None
    max_lifetime: float = 3600.0
    max_inactive_lifetime: float = 300.0
    max_queries: int = 50_000
    health_check_interval: float = 5.0
    health_check_timeout: float = 5.0
    check_idle_after: float = 60.0
    leak_threshold: float | None = 60.0
    query_cache_size: int = 1000
    query_cache_ttl: float = 300.0
    max_cached_rows: int = 10_000
    track_changes: bool = False
    listen_url: str | None = None
    slow_query_threshold: float = 0.1
    statement_size: int = 2000
    statement_cache_size: int = 100
    catalog_ttl: float = 60.0
    max_replica_lag: float = 10.0
    read_consistency: str = "pool"
    server_settings: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")
        for name in ("max_waiting", "command_timeout", "leak_threshold"):
            value = getattr(self, name)
            if value is not None and not value >= (0 if name == "max_waiting" else 1e-9):
                raise ValueError(f"{name} must be positive or None, got {value!r}")
        if self.min_connections > self.max_connections:
            raise ValueError(
                f"min_connections must be at most max_connections ({self.max_connections}),"
                f" got {self.min_connections!r}"
            )
        if self.read_consistency not in {"pool", "eventual"}:
            raise ValueError(
                f"read_consistency must be 'pool' or 'eventual', got {self.read_consistency!r}"
            )
        if isinstance(self.read_replica_urls, str):
            raise ValueError("read_replica_urls must be a sequence of addresses")  # noqa: TRY004

    def __repr__(self) -> str:
        """Show what differs from the defaults, without passwords."""
        shown = (f"{name}={value!r}" for name, value in self._changed().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _changed(self) -> dict[str, Any]:
        changed = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "server_settings":
                value = sorted(value)
            if field.name in {"database_url", "listen_url"} and value is not None:
                value = hide_passwords(value)
            if field.name == "read_replica_urls":
                value = tuple(map(hide_passwords, value))
            if value not in (field.default, []):
                changed[field.name] = value
        return changed
