"""Connections that notice what their statements do."""

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from overdrive.database._asyncpg import BaseConnection, PostgresError
from overdrive.database.analysis import EVERYTHING, NOTHING, Verdict

__all__ = ["Observer", "TrackedStatement", "Tracking", "tracked_class"]

T = TypeVar("T")


class Observer(Protocol):
    """Who is told what the statements of connections do."""

    def look(self, text: str) -> Verdict:
        """Say what is known about a text."""

    def changed(self, effects: frozenset[int] | None) -> None:
        """Take note that tables may have changed, now."""

    def schema_changed(self) -> None:
        """Take note that what the catalogs say may have changed, now."""

    def doubt(self, effects: frozenset[int] | None) -> None:
        """Take note that tables may change at any time from now on, until `settle`."""

    def settle(self, effects: frozenset[int] | None) -> None:
        """Take note that what `doubt` told of has ended, one way or the other."""


class Tracking:
    """What one connection has done since it was last clean.

    Attributes:
        touched: Whether the session may differ from that of a new connection.
        strange: Whether it may have temporary tables, so that names mean something else on it.
        pending: What the open transaction may have changed.
        doubts: What statements whose end nobody has seen may have changed, or may yet change.
    """

    __slots__ = ("doubts", "observer", "pending", "schema_pending", "strange", "touched")

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.touched = False
        self.strange = False
        self.pending: frozenset[int] | None = NOTHING
        self.schema_pending = False
        self.doubts: list[frozenset[int] | None] = []

    def after(self, verdict: Verdict, *, in_transaction: bool, failed: bool) -> None:
        """Take note that a statement has ended."""
        if not verdict.session_safe:
            self.touched = True
            self.strange = self.strange or verdict.changes_schema or verdict.effects is EVERYTHING
        before, before_schema = self.pending, self.schema_pending
        self.pending = union(before, verdict.effects)
        self.schema_pending = before_schema or verdict.changes_schema
        if verdict.control == "rollback" and not failed:
            self._forget()
        elif not in_transaction:
            self.publish()
        elif verdict.control in {"commit", "mixed"}:
            # Something was committed, and a new transaction is open.
            self.publish()
            self.pending, self.schema_pending = verdict.effects, verdict.changes_schema

    def publish(self) -> None:
        """Tell of everything that may have been committed."""
        pending, schema = self.pending, self.schema_pending
        self._forget()
        if pending != NOTHING:
            self.observer.changed(pending)
        if schema:
            self.observer.schema_changed()

    def lose_sight(self, verdict: Verdict) -> None:
        """Take note that the end of a statement was not seen, by a cancellation or a lost line."""
        effects = union(self.pending, verdict.effects)
        if effects != NOTHING:
            self.observer.doubt(effects)
            self.doubts.append(effects)
        self.touched = True

    def clear(self) -> None:
        """Take note that the session is as new, temporary tables aside."""
        self.touched = False
        self._forget()
        self.settle()

    def settle(self) -> None:
        """Take note that the server has finished whatever was in doubt."""
        doubts, self.doubts = self.doubts, []
        for effects in doubts:
            self.observer.settle(effects)

    def _forget(self) -> None:
        self.pending = NOTHING
        self.schema_pending = False


def union(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    """Return what two statements may change together."""
    if one is EVERYTHING or other is EVERYTHING:
        return EVERYTHING
    return one | other


class TrackedStatement:
    """A prepared statement of one connection that notices what it does."""

    __slots__ = ("_connection", "_statement", "_verdict")

    def __init__(self, connection: Any, statement: Any, verdict: Verdict) -> None:
        self._connection = connection
        self._statement = statement
        self._verdict = verdict

    def __getattr__(self, name: str) -> Any:
        """Do what the statement of asyncpg does."""
        return getattr(self._statement, name)

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.fetch(*args, **options))

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.fetchrow(*args, **options))

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.fetchval(*args, **options))

    async def fetchmany(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.fetchmany(*args, **options))

    async def executemany(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.executemany(*args, **options))

    async def explain(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        return await self._run(self._statement.explain(*args, **options))

    def cursor(self, *args: Any, **options: Any) -> Any:
        """As the method of asyncpg's `PreparedStatement`."""
        self._connection._note(self._verdict)
        return self._statement.cursor(*args, **options)

    async def _run(self, work: Awaitable[T]) -> T:
        result: T = await self._connection._run(self._verdict, work)
        return result


class _TrackedMixin:
    """Overrides the public methods of `asyncpg.Connection` that run statements.

    What asyncpg itself runs comes here too: its transactions are `BEGIN`, `COMMIT` and so on by
    `execute`.
    """

    tracking: Tracking | None = None
    # Attributes of asyncpg's connection.
    is_closed: Any
    is_in_transaction: Any

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        work = super().execute(query, *args, **options)  # type: ignore[misc]
        return await self._watch(query, work)

    async def executemany(self, command: str, args: Any, **options: Any) -> Any:
        work = super().executemany(command, args, **options)  # type: ignore[misc]
        return await self._watch(command, work)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._watch(query, super().fetch(query, *args, **options))  # type: ignore[misc]

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        work = super().fetchval(query, *args, **options)  # type: ignore[misc]
        return await self._watch(query, work)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        work = super().fetchrow(query, *args, **options)  # type: ignore[misc]
        return await self._watch(query, work)

    async def fetchmany(self, query: str, args: Any, **options: Any) -> Any:
        work = super().fetchmany(query, args, **options)  # type: ignore[misc]
        return await self._watch(query, work)

    async def prepare(self, query: str, **options: Any) -> Any:
        statement = await super().prepare(query, **options)  # type: ignore[misc]
        if self.tracking is None:
            return statement
        return TrackedStatement(self, statement, self.tracking.observer.look(query))

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:
        if self.tracking is not None:
            self._note(self.tracking.observer.look(query))
        return super().cursor(query, *args, **options)  # type: ignore[misc]

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> Any:
        work = super().copy_from_query(query, *args, **options)  # type: ignore[misc]
        return await self._watch(query, work)

    async def copy_to_table(self, table_name: str, **options: Any) -> Any:
        work = super().copy_to_table(table_name, **options)  # type: ignore[misc]
        return await self._watch(_insert_into(table_name, options), work)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> Any:
        work = super().copy_records_to_table(table_name, **options)  # type: ignore[misc]
        return await self._watch(_insert_into(table_name, options), work)

    async def add_listener(self, channel: str, callback: Any) -> Any:
        if self.tracking is not None:
            self.tracking.touched = True
        return await super().add_listener(channel, callback)  # type: ignore[misc]

    def get_reset_query(self) -> str:
        """Give up roles too, which `RESET ALL` leaves as they are."""
        query: str = super().get_reset_query()  # type: ignore[misc]
        return query and f"{query}\nSET SESSION AUTHORIZATION DEFAULT;\nRESET ROLE;"

    def _note(self, verdict: Verdict) -> None:
        """A cursor runs inside a transaction, so its effects wait for the end of that."""
        if self.tracking is not None:
            self.tracking.after(verdict, in_transaction=True, failed=False)

    async def _watch(self, query: str, work: Awaitable[T]) -> T:
        if self.tracking is None:
            return await work
        verdict = self.tracking.observer.look(query)
        if verdict.quiet:
            return await work
        return await self._run(verdict, work)

    async def _run(self, verdict: Verdict, work: Awaitable[T]) -> T:
        tracking = self.tracking
        if tracking is None:
            return await work
        failed = True
        try:
            result = await work
            failed = False
        except PostgresError:
            if self.is_closed():
                tracking.lose_sight(verdict)
            raise
        except BaseException:
            tracking.lose_sight(verdict)
            raise
        finally:
            in_transaction = not self.is_closed() and self.is_in_transaction()
            tracking.after(verdict, in_transaction=in_transaction, failed=failed)
        return result


def _insert_into(table: str, options: dict[str, Any]) -> str:
    parts = [part for part in (options.get("schema_name"), table) if part is not None]
    name = ".".join('"' + part.replace('"', '""') + '"' for part in parts)
    return f"insert into {name} select"


_classes: dict[type, type] = {}


def tracked_class(base: type | None = None) -> Any:
    """Return a class of connections that notice what they do.

    Args:
        base: A subclass of `asyncpg.Connection`, or `None` for that itself.
    """
    base = BaseConnection if base is None else base
    if base not in _classes:
        _classes[base] = type(f"Tracked{base.__name__}", (_TrackedMixin, base), {"untracked": base})
    return _classes[base]
