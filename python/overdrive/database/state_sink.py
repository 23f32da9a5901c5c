"""Agents' states in PostgreSQL."""

import json
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from overdrive.database._loop import LoopThread

if TYPE_CHECKING:
    from overdrive.database._asyncpg import Connection

__all__ = ["PostgresStateSink"]

T = TypeVar("T")
_encode = json.JSONEncoder(allow_nan=False).encode
State = Mapping[str, Any]

# `json` and not `jsonb`: it gives back what it was given to the last digit, minus zero and the
# difference between 1 and 1.0 included.
_CREATE = """
    create table if not exists overdrive_agent_states (
        name text not null,
        agent_id text not null,
        version bigint not null,
        state json not null,
        saved_at timestamptz not null default now(),
        primary key (name, agent_id)
    );
    create table if not exists overdrive_checkpoints (
        name text primary key,
        marker json not null,
        saved_at timestamptz not null default now()
    );
"""

_SAVE_STATES = """
    insert into overdrive_agent_states as old (name, agent_id, version, state)
    select $1, agent_id, 1, state::json from unnest($2::text[], $3::text[]) as t(agent_id, state)
    on conflict (name, agent_id) do update
    set version = old.version + 1, state = excluded.state, saved_at = excluded.saved_at
"""

_SAVE_MARKER = """
    insert into overdrive_checkpoints (name, marker) values ($1, $2::json)
    on conflict (name) do update set marker = excluded.marker, saved_at = excluded.saved_at
"""

# An arbitrary number: processes that create the tables at the same time wait for each other.
_CREATE_LOCK = 0x6F76_6572


class PostgresStateSink:
    """Keeps agents' states in a PostgreSQL database, one row per agent.

    Each checkpoint is one transaction: after a crash the database holds all of it or nothing of it.
    Its states travel in one statement. Numbers come back to the last digit.

    The rows are in the table `overdrive_agent_states` (`name`, `agent_id`, `version`, how often the
    row was saved, `state`, `saved_at`), the markers in `overdrive_checkpoints` (`name`, `marker`,
    `saved_at`); the tables are made when first needed. The connection is opened when first needed,
    and opened again when it was lost. All methods may be called from any thread and wait for their
    turn; after `os.fork()` the child opens a connection of its own.

    Args:
        dsn: Address of the database, as asyncpg takes it.
        name: Which of several sets of agents in that database this is.
        timeout: Seconds that connecting, and each statement, may take.

    Raises:
        ValueError: If `name` is empty or holds a NUL, or `timeout` is not positive.
        MissingExtraError: If the extra `database` is not installed.
    """

    def __init__(self, dsn: str, *, name: str = "default", timeout: float = 60.0) -> None:
        if not name or "\0" in name:
            raise ValueError(f"name must be a text without NUL, got {name!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, got {timeout!r}")
        from overdrive.database import _asyncpg  # noqa: PLC0415 - of the extra

        self._asyncpg = _asyncpg
        self._dsn = dsn
        self._name = name
        self._timeout = timeout
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        self._connection: Connection | None = None

    def save(self, states: Mapping[str, State], marker: State) -> None:
        """Replace the given agents' states and the marker, in one transaction.

        Raises:
            ValueError: If an id or a state cannot be stored as text or JSON; nothing is saved then.
            TypeError: If a state holds something that JSON has no form for.
            OSError: If the server cannot be reached.
            asyncpg.PostgresError: If the server refuses.
        """
        ids = [_without_nul(agent_id) for agent_id in states]
        texts = [_to_json(state, f"state of agent {key!r}") for key, state in states.items()]
        marker_text = _to_json(marker, "marker")

        async def work(connection: "Connection") -> None:
            async with connection.transaction():
                if ids:
                    await connection.execute(_SAVE_STATES, self._name, ids, texts)
                await connection.execute(_SAVE_MARKER, self._name, marker_text)

        self._do(work)

    def load(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]] | None:
        """Return all states and the marker of the last checkpoint; `None` if there is none."""

        async def work(connection: "Connection") -> tuple[list[Any], str | None]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                marker = await connection.fetchval(
                    "select marker::text from overdrive_checkpoints where name = $1", self._name
                )
                rows = await connection.fetch(
                    "select agent_id, state::text from overdrive_agent_states where name = $1",
                    self._name,
                )
            return rows, marker

        rows, marker = self._do(work)
        if marker is None:
            return None
        return {agent_id: json.loads(state) for agent_id, state in rows}, json.loads(marker)

    def count(self) -> int:
        """Return the number of agents that have a saved state."""

        async def work(connection: "Connection") -> int:
            number: int = await connection.fetchval(
                "select count(*) from overdrive_agent_states where name = $1", self._name
            )
            return number

        return self._do(work)

    def total(self, field: str) -> float:
        """Let the database add up a numeric field over all states; 0 for those that lack it."""

        async def work(connection: "Connection") -> float:
            total: float = await connection.fetchval(
                "select coalesce(sum((state ->> $2)::float8), 0) from overdrive_agent_states"
                " where name = $1",
                self._name,
                field,
            )
            return total

        return self._do(work)

    def clear(self) -> None:
        """Forget the states and the marker."""

        async def work(connection: "Connection") -> None:
            async with connection.transaction():
                for table in ("overdrive_agent_states", "overdrive_checkpoints"):
                    await connection.execute(
                        f"delete from {table} where name = $1",  # noqa: S608 - two constants
                        self._name,
                    )

        self._do(work)

    def close(self) -> None:
        """Close the connection. A second call does nothing; a later use opens a new one."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            connection, self._connection = self._connection, None
            loop, self._loop = self._loop, None
            if loop is None:
                return
            try:
                if connection is not None:
                    loop.call(_end(connection, self._timeout))
            finally:
                loop.close()

    def _forget(self) -> None:
        """Begin again in a forked child: what the parent opened is the parent's."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop = None
        self._connection = None

    def _do(self, work: Callable[["Connection"], Awaitable[T]]) -> T:
        """Do some work on the connection, and once more on a new one if it was lost."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._loop is None:
                self._loop = LoopThread("overdrive-state-sink")
            return self._loop.call(self._attempt(work))

    async def _attempt(self, work: Callable[["Connection"], Awaitable[T]]) -> T:
        reused = self._connection is not None
        try:
            return await work(await self._connected())
        except BaseException as error:
            lost = self._asyncpg.is_connection_lost(error)
            if lost or not isinstance(error, Exception):
                # After a cancellation nobody knows what the connection was doing.
                self._drop()
            if not lost or not reused:
                raise
        return await work(await self._connected())

    async def _connected(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            connection = await self._asyncpg.connect(self._dsn, timeout=self._timeout)
            async with connection.transaction():
                await connection.execute(f"select pg_advisory_xact_lock({_CREATE_LOCK})")
                await connection.execute(_CREATE)
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def _end(connection: "Connection", timeout: float) -> None:
    try:
        await connection.close(timeout=timeout)
    except (OSError, TimeoutError):
        connection.terminate()


def _to_json(value: State, what: str) -> str:
    try:
        return _encode(value)
    except ValueError as error:
        raise ValueError(f"the {what} is not JSON: {error}") from error
    except TypeError as error:
        raise TypeError(f"the {what} is not JSON: {error}") from error


def _without_nul(agent_id: str) -> str:
    if "\0" in agent_id:
        raise ValueError(f"PostgreSQL cannot store an agent id with a NUL: {agent_id!r}")
    return agent_id
