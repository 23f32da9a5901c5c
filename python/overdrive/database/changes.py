"""Hearing of changes that others make, by triggers and `LISTEN`.

A trigger on each table that a kept result depends on sends the table's number when a statement has
changed it; PostgreSQL delivers that at commit, and not after a rollback. The listener has a
connection of its own. Nothing is kept, and nothing kept is used, while that connection is not known
to be alive: when it is lost, all results are dropped, and again when there is a new one, because
what was sent in between is lost too. A line that is dead without saying so is found by a heartbeat.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from overdrive.database._asyncpg import Connection
from overdrive.database.catalog import TRIGGER
from overdrive.database.knowledge import Knowledge
from overdrive.database.query_cache import QueryCache

__all__ = ["ChangeListener"]

_log = logging.getLogger("overdrive.database.optimized_db")

_CHANNEL = "overdrive_changes"
_SCHEMA = "schema"
_HEARTBEAT_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
# An arbitrary number: processes that make the triggers at the same time wait for each other.
_LOCK = 0x6F76_6463

_FUNCTION = f"""
    create or replace function {TRIGGER}() returns trigger language plpgsql security definer
    set search_path = pg_catalog as $$
    begin
        perform pg_notify('{_CHANNEL}', tg_relid::text);
        return null;
    end $$
"""
_SCHEMA_FUNCTION = f"""
    create or replace function {TRIGGER}_ddl() returns event_trigger language plpgsql as $$
    begin
        if coalesce(pg_catalog.current_setting('overdrive.quiet', true), '') <> 'on' then
            perform pg_catalog.pg_notify('{_CHANNEL}', '{_SCHEMA}');
        end if;
    end $$
"""


class ChangeListener:
    """Listens for changes of tables, and makes the triggers that tell of them.

    A change by others is known at most `delay` seconds after its commit.

    Args:
        connect: Opens a connection to the primary itself, not to a pooler.
        knowledge: Is told what has changed.
        cache: Is closed while nothing can be heard.
    """

    delay = _HEARTBEAT_SECONDS + _ANSWER_SECONDS

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        knowledge: Knowledge,
        cache: QueryCache,
    ) -> None:
        self.losses = 0
        self.hears_of_schema = False
        self._connect = connect
        self._knowledge = knowledge
        self._cache = cache
        self._connection: Connection = None
        self._pid = 0
        self._lock = asyncio.Lock()
        self._covered: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        cache.open = False
        knowledge.on_schema.append(self._covered.clear)

    async def start(self) -> None:
        """Begin to listen."""
        await self._listen()
        self._task = asyncio.get_running_loop().create_task(self._supervise())

    async def close(self) -> None:
        """Listen no more. The triggers stay, for other processes."""
        self._cache.open = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._connection is not None:
            self._connection.terminate()

    def stop(self) -> None:
        """Listen no more, without waiting for the end of it."""
        self._cache.open = False
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.terminate()

    async def covers(self, tables: frozenset[int]) -> bool:
        """Make sure that changes of these tables are heard of; `False` if that is impossible."""
        if tables <= self._covered:
            return self._cache.open
        catalog = self._knowledge.analyst.catalog
        if catalog is None or not self._cache.open:
            return False
        wanted: set[int] = set()
        for table in tables:
            kind = catalog.relations[table].kind if table in catalog.relations else ""
            if kind in {"r", "p"}:
                # A trigger of a statement fires for the table that the statement names.
                wanted |= catalog.family(table)
            elif kind != "v" and not (kind == "m" and self.hears_of_schema):
                return False
        try:
            async with self._lock:
                await self._add_triggers(wanted - self._covered)
        except Exception as error:  # noqa: BLE001 - then it is not kept
            _log.warning("cannot track changes: %s: %s", type(error).__name__, error)
            return False
        self._covered |= wanted | tables
        return self._cache.open

    async def _add_triggers(self, tables: Iterable[int]) -> None:
        connection = self._connection
        async with asyncio.timeout(_ANSWER_SECONDS), connection.transaction():
            await connection.execute(
                f"set local lock_timeout = '{_ANSWER_SECONDS}s'; set local overdrive.quiet = on"
            )
            await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
            for table in tables:
                name = await connection.fetchval(
                    "select format('%I.%I', n.nspname, c.relname) from pg_class c"
                    " join pg_namespace n on n.oid = c.relnamespace where c.oid = $1 and not exists"
                    " (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = $2)",
                    table,
                    TRIGGER,
                )
                if name is not None:
                    await connection.execute(
                        f"create trigger {TRIGGER} after insert or update or delete or truncate"
                        f" on {name} for each statement execute function {TRIGGER}();"
                        # Also for changes that come by replication.
                        f"alter table {name} enable always trigger {TRIGGER}"
                    )

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(self._on_end)
            await connection.add_listener(_CHANNEL, self._on_message)
            self._pid = connection.get_server_pid()
            async with connection.transaction():
                await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
                await connection.execute(_FUNCTION)
            self.hears_of_schema = await _add_schema_triggers(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._lost.clear()
        if connection.is_closed():
            self._lost.set()
        self._covered.clear()
        self._cache.flush()
        self._cache.open = True

    def _on_message(self, _connection: Any, pid: int, _channel: str, payload: str) -> None:
        if payload != _SCHEMA:
            self._knowledge.changed_elsewhere(int(payload))
        elif pid != self._pid:
            self._knowledge.schema_changed()

    def _on_end(self, _connection: Any) -> None:
        self._lose()

    def _lose(self) -> None:
        if self._cache.open:
            self.losses += 1
        self._cache.open = False
        self._cache.flush()
        self._lost.set()

    async def _supervise(self) -> None:
        pause = 0.05
        while True:
            try:
                await self._watch()
            except Exception as error:  # noqa: BLE001 - whatever it is, the line is gone
                _log.warning("no longer hearing of changes: %s: %s", type(error).__name__, error)
            self._lose()
            self._connection.terminate()
            while True:
                try:
                    await self._listen()
                except Exception:  # noqa: BLE001 - tried again
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 5.0)
                else:
                    pause = 0.05
                    break

    async def _watch(self) -> None:
        """Return or raise when the line is dead."""
        while not self._lost.is_set():
            async with self._lock, asyncio.timeout(_ANSWER_SECONDS):
                await self._connection.fetchval("select 1")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._lost.wait()


async def _add_schema_triggers(connection: Connection) -> bool:
    """Make event triggers that tell of changes of the schema; only a superuser may."""
    if not await connection.fetchval("select rolsuper from pg_roles where rolname = current_user"):
        return False
    async with connection.transaction():
        await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
        await connection.execute(_SCHEMA_FUNCTION)
        for event in ("ddl_command_end", "sql_drop"):
            name = f"{TRIGGER}_{event}"
            there = await connection.fetchval(
                "select true from pg_event_trigger where evtname = $1", name
            )
            if not there:
                await connection.execute(
                    f"create event trigger {name} on {event} execute function {TRIGGER}_ddl();"
                    f"alter event trigger {name} enable always"
                )
    return True
