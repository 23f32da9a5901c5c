"""A pool of connections that caches and scales."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterable, Generator, Iterable
from dataclasses import replace
from typing import Any, Self

from overdrive.database import _asyncpg, batches, statistics
from overdrive.database import lease as leases
from overdrive.database._asyncpg import Connection
from overdrive.database._driver_api import DriverApi
from overdrive.database._keys import key_of, names_a_time
from overdrive.database._secrets import hide_passwords, without
from overdrive.database.analysis import Verdict
from overdrive.database.changes import ChangeListener
from overdrive.database.config import DatabaseConfig
from overdrive.database.driver import Driver, Hooks
from overdrive.database.embedded import EmbeddedPostgres
from overdrive.database.errors import PoolMisuseError, PoolTimeoutError, UnknownStatementError
from overdrive.database.knowledge import Knowledge
from overdrive.database.lease import Lease
from overdrive.database.node import Node, Slot
from overdrive.database.query_cache import QueryCache
from overdrive.database.replicas import Replicas
from overdrive.sources import announce

__all__ = ["OptimizedConnectionPool"]


class OptimizedConnectionPool(DriverApi):
    """A pool of asyncpg connections with the methods of `asyncpg.Pool` and more.

    It belongs to the event loop it is opened on, and to the process: after a fork the child opens
    its own. Open it by `async with`, `await`, or `initialize`.

    Args:
        config: Settings; by default the embedded server with the default settings.
        driver: How to connect, for `create_pool`.
        randomness: For lifetimes and back-off.
    """

    def __init__(
        self,
        config: DatabaseConfig | None = None,
        *,
        driver: Driver | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self.config = DatabaseConfig() if config is None else config
        self._driver = driver
        self._random = random.Random() if randomness is None else randomness  # noqa: S311 - jitter
        self._cache = QueryCache(
            self.config.query_cache_size,
            self.config.query_cache_ttl,
            max_rows=self.config.max_cached_rows,
        )
        self._knowledge = Knowledge(self.config, self._cache, self._random)
        self._record = statistics.Recorder(self.config.slow_query_threshold)
        self._record.feed = announce(
            "database", self, lambda pool: statistics.figures(pool._primary, pool._cache)
        )
        self._statements: dict[str, str] = {}
        self._changes: ChangeListener | None = None
        self._replicas: Replicas | None = None
        self._embedded: EmbeddedPostgres | None = None
        self._primary: Node | None = None
        self._opening = False

    def __repr__(self) -> str:
        """Say how large it is."""
        node = self._primary
        state = "not open" if node is None else "closed" if node.is_closing else f"{node.size} open"
        return f"<{type(self).__name__} {state}>"

    # Opening and closing

    async def initialize(self) -> Self:
        """Open the pool. A second call does nothing.

        Raises:
            MissingExtraError: If no address is configured and the extra `embedded` is missing.
            OSError: If the server cannot be reached.
            asyncpg.PostgresError: If the server refuses.
        """
        if self._primary is not None:
            self._primary.check()
            return self
        if self._opening:
            raise PoolMisuseError("the pool is being opened by another task")
        self._opening = True
        try:
            await self._open()
        except BaseException:
            self.terminate()
            await self._leave_embedded()
            self._primary = None
            raise
        finally:
            self._opening = False
        return self

    async def _open(self) -> None:
        if self._driver is None:
            self._driver = Driver(args=(await self._address(),))
        node = self._primary = self._node("primary", self._driver)
        await node.start(self.config.min_connections)
        await self._knowledge.start(node, now=self.config.min_connections > 0)
        if self.config.read_replica_urls:
            await self._open_replicas(node)
        if self.config.track_changes:
            url, driver = self.config.listen_url, self._driver
            direct = driver if url is None else replace(driver, args=(url,))
            self._changes = ChangeListener(
                lambda: direct.open(self.config), self._knowledge, self._cache
            )
            await self._changes.start()

    async def _open_replicas(self, primary: Node) -> None:
        nodes = [
            self._node(
                f"replica {number}",
                Driver(args=(url,), hooks=self._driver.hooks if self._driver else Hooks()),
                default_transaction_read_only="on",
            )
            for number, url in enumerate(self.config.read_replica_urls, 1)
        ]
        self._replicas = Replicas(primary, nodes, self.config)
        self._knowledge.on_write.append(self._replicas.wrote)
        await self._replicas.start()

    async def _address(self) -> str:
        if self.config.database_url is not None:
            return self.config.database_url
        self._embedded = EmbeddedPostgres(self.config.data_dir)
        await asyncio.to_thread(self._embedded.start)
        return self._embedded.dsn

    def _node(self, name: str, driver: Driver, **settings: str) -> Node:
        return Node(
            name,
            self.config,
            lambda: driver.open(self.config, **settings),
            observer=self._knowledge,
            hooks=driver.hooks,
            clean_text=lambda text: without(text, driver.secrets()),
            randomness=self._random,
        )

    async def close(self) -> None:
        """Wait until all connections are given back, and close them. Twice does no harm."""
        node = self._primary
        if node is None or (node.is_closing and not node.size):
            return
        try:
            if self._changes is not None:
                await self._changes.close()
            if self._replicas is not None:
                await self._replicas.close()
            await self._knowledge.close()
            await node.close()
        finally:
            await self._leave_embedded()

    def terminate(self) -> None:
        """Close all connections at once, also those in use."""
        self._knowledge.stop()
        if self._changes is not None:
            self._changes.stop()
        if self._replicas is not None:
            self._replicas.terminate()
        if self._primary is not None:
            self._primary.terminate()

    async def _leave_embedded(self) -> None:
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)

    async def __aenter__(self) -> Self:
        """Open the pool."""
        return await self.initialize()

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        await self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        """Open the pool."""
        return self.initialize().__await__()

    @property
    def dsn(self) -> str | None:
        """The address of the primary, with stars for a password of its own."""
        args = () if self._driver is None else self._driver.args
        return hide_passwords(str(args[0])) if args else None

    @property
    def changes_delay(self) -> float:
        """Seconds within which a commit by others is known, with `track_changes`; else infinite."""
        return float("inf") if self._changes is None else self._changes.delay

    # Borrowing

    def acquire(self, *, timeout: float | None = None) -> Lease:
        """Borrow a connection of the primary, by `async with` or `await`.

        Args:
            timeout: How long to wait, connecting, checking and `setup` included; by default what
                the configuration says.
        """
        return Lease(lambda: self._borrow(self._open_node(), timeout), self.release)

    def read(self, *, timeout: float | None = None) -> Lease:
        """Borrow a connection that refuses writes: of a replica, or of the primary if none will do.

        Args:
            timeout: As for `acquire`.
        """
        return Lease(lambda: self._borrow_for_reads(timeout), self.release)

    def write(self, *, timeout: float | None = None) -> Lease:
        """Borrow a connection of the primary, as `acquire`."""
        return self.acquire(timeout=timeout)

    async def _borrow_for_reads(self, timeout: float | None) -> Connection:
        primary = self._open_node()
        node = primary if self._replicas is None else await self._replicas.choose()
        if node is not primary:
            deadline = self._deadline(timeout)
            try:
                return await leases.take(node, self._until(node, deadline))
            except (PoolTimeoutError, OSError) as error:
                self._give_up_on(node, error)
        connection = await self._borrow(primary, timeout)
        try:
            await connection.execute("set default_transaction_read_only = on")
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def _borrow(self, node: Node, timeout: float | None) -> Connection:
        return await leases.take(node, self._deadline(timeout))

    async def release(self, connection: Connection, *, timeout: float | None = None) -> None:
        """Give a connection back. Twice does no harm.

        When this returns, the session is clean, or is being cleaned if `timeout` is over.
        """
        await leases.give_back(connection, self._nodes(), timeout)

    def _deadline(self, timeout: float | None) -> float:
        wait = self.config.acquire_timeout if timeout is None else timeout
        return asyncio.get_running_loop().time() + wait

    def _open_node(self) -> Node:
        if self._primary is None:
            raise PoolMisuseError("the pool is not open: use `async with`, or await initialize()")
        return self._primary

    def _nodes(self) -> list[Node]:
        nodes = [] if self._primary is None else [self._primary]
        if self._replicas is not None:
            nodes += [replica.node for replica in self._replicas.all]
        return nodes

    # Statements

    async def execute_query(
        self,
        query: str,
        *args: Any,
        read_only: bool | None = None,
        use_cache: bool = False,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> list[Any]:
        """Run one statement and return its rows.

        Args:
            query: The statement, with `$1`, `$2` and so on for the arguments.
            args: The arguments.
            read_only: `True` if it must not change anything: then it is refused if it does. By
                default that is found out.
            use_cache: Whether a kept result may be the answer, and this result may be kept.
            ttl: How long this result may be kept.
            timeout: One limit for waiting, connecting, checking and running.

        Raises:
            PoolTimeoutError: If there was no connection in time.
            TimeoutError: If the statement took too long; it is then cancelled.
            asyncpg.PostgresError: If the server refuses the statement.
        """
        key = None
        if use_cache and self._cache.open:
            key = key_of(query, args)
            if key is not None and (rows := self._cache.get(key)) is not None:
                self._open_node().check()
                self._record.cached += 1
                return rows
        verdict = self._knowledge.look(query)
        if key is None or verdict.keeps is None or self._varies:
            return await self._run("fetch", verdict, query, args, timeout, read_only=read_only)  # type: ignore[no-any-return]
        tables = verdict.keeps
        may_keep = not names_a_time(args)

        async def load() -> tuple[list[Any], bool]:
            return await self._load(verdict, query, args, may_keep=may_keep)

        async with asyncio.timeout(timeout):
            return await self._cache.load(
                key, tables, load, ttl, row=_row(verdict, args) if self._changes is None else None
            )

    @property
    def _varies(self) -> bool:
        """Whether a function of the user's prepares connections, so that results may differ."""
        return self._driver is not None and self._driver.hooks.setup is not None

    async def _load(
        self, verdict: Verdict, query: str, args: tuple[Any, ...], *, may_keep: bool
    ) -> tuple[list[Any], bool]:
        """Run a query whose result may be kept. Always on the primary: a replica may lag."""
        if self._changes is not None and verdict.keeps is not None:
            # Before the query begins: what happens between the two is heard of.
            may_keep = await self._changes.covers(verdict.keeps) and may_keep
        strange: list[bool] = []
        rows = await self._run(
            "fetch", verdict, query, args, None, on_primary=True, strange=strange
        )
        return rows, may_keep and not any(strange)

    async def _call(self, method: str, query: str, *args: Any, **options: Any) -> Any:
        timeout = options.pop("timeout", None)
        return await self._run(method, self._knowledge.look(query), query, args, timeout, **options)

    async def _run(  # noqa: C901 - one decision on each way it can fail
        self,
        method: str,
        verdict: Verdict,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        *,
        read_only: bool | None = None,
        on_primary: bool = False,
        strange: list[bool] | None = None,
        **options: Any,
    ) -> Any:
        node = primary = self._open_node()
        if read_only and not verdict.read_only:
            return await self._run_read_only(method, query, args, timeout, options)
        now = node.loop.time()
        deadline = now + (self.config.acquire_timeout if timeout is None else timeout)
        if self._replicas is not None and verdict.read_only and not on_primary:
            node = await self._replicas.choose()
        may_repeat = verdict.read_only
        while True:
            try:
                slot = node.take_now() or await node.take(self._until(node, deadline))
                if timeout is not None:
                    options["timeout"] = max(deadline - node.loop.time(), 0.001)
                if strange is not None:
                    strange.append(slot.tracking.strange)
                cleaning, result = await self._run_on(
                    slot, verdict, method, (query, *args), options
                )
            except Exception as error:
                lost = _asyncpg.is_connection_lost(error)
                if node is not primary and (lost or isinstance(error, PoolTimeoutError)):
                    self._give_up_on(node, error)
                    node = primary
                    continue
                if not lost or not may_repeat:
                    raise
                may_repeat = False
            else:
                if cleaning is not None:
                    await asyncio.shield(cleaning)
                return result

    async def _run_on(
        self,
        slot: Slot,
        verdict: Verdict,
        method: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> tuple[Any, Any]:
        """Run a statement on a connection that was taken, and give that back."""
        node, connection, clock = slot._pool, slot.connection, slot._pool.loop.time
        began = clock()
        try:
            if self._varies:
                node.lend(slot, where="a single statement")
                await node.prepare(slot, began + self.config.acquire_timeout)
            # asyncpg's own method: what the tracking one adds is done here.
            result = await getattr(connection.untracked, method)(connection, *args, **options)
        except BaseException as error:
            self._fail(node, slot, verdict, error)
            raise
        if not verdict.quiet:
            self._note(slot, verdict, method, args[1:])
        self._record.add(verdict, clock() - began, len(result) if type(result) is list else 0)
        return node.give(slot), result

    def _note(self, slot: Slot, verdict: Verdict, method: str, args: tuple[Any, ...]) -> None:
        """Take note of what a statement of its own has done."""
        inside = slot.connection.is_in_transaction()
        row = None if method in {"executemany", "fetchmany"} or inside else _row(verdict, args)
        if row is None or not verdict.session_safe or slot.tracking.strange:
            slot.tracking.after(verdict, in_transaction=inside, failed=False)
        else:
            self._knowledge.row_changed(row)

    def _give_up_on(self, node: Node, error: BaseException) -> None:
        if self._replicas is not None:
            self._replicas.failed(node, error)

    def _until(self, node: Node, deadline: float) -> float:
        """Return how long to wait for a connection; not for ever, if there is another server."""
        if node is self._primary:
            return deadline
        return min(deadline, node.loop.time() + self.config.health_check_timeout)

    def _fail(self, node: Node, slot: Slot, verdict: Verdict, error: BaseException) -> None:
        self._record.fail(verdict)
        connection = slot.connection
        seen = isinstance(error, _asyncpg.PostgresError) and not connection.is_closed()
        if not seen:
            slot.tracking.lose_sight(verdict)
        if not verdict.quiet:
            inside = not connection.is_closed() and connection.is_in_transaction()
            slot.tracking.after(verdict, in_transaction=inside, failed=True)
        if _asyncpg.is_confused(error):
            node.suspect()
            node.end(slot)
        else:
            node.give(slot)

    async def _run_read_only(
        self,
        method: str,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        options: dict[str, Any],
    ) -> Any:
        """Let the server refuse whatever writes."""
        async with asyncio.timeout(timeout), self.acquire(timeout=timeout) as connection:  # noqa: SIM117
            # The transaction is of the connection.
            async with connection.transaction(readonly=True):
                return await getattr(connection, method)(query, *args, **options)

    async def execute_many(
        self,
        query: str,
        args: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]],
        *,
        batch_size: int = 10_000,
        use_copy: bool | None = None,
        timeout: float | None = None,
    ) -> int:
        """Run a statement for each sequence of arguments, in batches, and return their number.

        A batch is one transaction. A plain `INSERT INTO table (columns) VALUES ($1, ..., $n)` is
        sent by `COPY`, where that does the same.

        Args:
            query: The statement.
            args: The arguments, which are taken as they are needed.
            batch_size: How many are sent at a time.
            use_copy: Whether to use `COPY`; by default for batches of 100 and more.
            timeout: How long all of it may take.

        Raises:
            PartialWriteError: If some batches were written, or may have been, and the rest not.
            ValueError: If `COPY` is asked for and the statement does not allow it.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size!r}")
        verdict = self._knowledge.look(query)
        target = batches.copy_target(verdict, self._knowledge.analyst.catalog)
        if use_copy and target is None:
            raise ValueError(f"COPY cannot do what this statement does: {verdict.normal}")
        async with asyncio.timeout(timeout), self.acquire(timeout=timeout) as connection:
            return await batches.write(
                connection, query, args,
                size=batch_size, target=None if use_copy is False else target,
                copy_from=1 if use_copy else 100,
            )  # fmt: skip

    async def prepare_statement(self, query: str) -> str:
        """Return a handle for a statement, which is checked now.

        The handle belongs to no connection: the statement is prepared on each connection when it
        first runs there, and again when the connection or the tables are new.

        Raises:
            asyncpg.PostgresError: If the server refuses the statement.
        """
        async with self.acquire() as connection:
            await connection.prepare(query)
        handle = hashlib.sha256(query.encode()).hexdigest()[:16]
        self._statements[handle] = query
        return handle

    async def execute_prepared(self, handle: str, *args: Any, **options: Any) -> list[Any]:
        """Run a prepared statement and return its rows.

        Args:
            handle: What `prepare_statement` returned.
            args: The arguments.
            options: As for `execute_query`.

        Raises:
            UnknownStatementError: If there is no such handle.
        """
        query = self._statements.get(handle)
        if query is None:
            raise UnknownStatementError(f"no statement was prepared as {handle!r}")
        return await self.execute_query(query, *args, **options)

    async def reload_schema(self) -> None:
        """Read again what the database says of tables, views and functions.

        The pool does it by itself after its own changes, and every `catalog_ttl` seconds for those
        of others.
        """
        self._open_node().check()
        await self._knowledge.reload()

    # What asyncpg.Pool has besides

    def get_size(self) -> int:
        """Return how many connections are open."""
        return self._open_node().size

    def get_min_size(self) -> int:
        """Return how many are kept open."""
        return self.config.min_connections

    def get_max_size(self) -> int:
        """Return how many may be open."""
        return self.config.max_connections

    def get_idle_size(self) -> int:
        """Return how many are free."""
        return self._open_node().idle

    def is_closing(self) -> bool:
        """Return whether the pool is closed or closing."""
        return self._primary is not None and self._primary.is_closing

    async def expire_connections(self) -> None:
        """Replace all present connections as they become free."""
        for node in self._nodes():
            node.expire()

    def set_connect_args(self, dsn: str | None = None, **options: Any) -> None:
        """Use another address, or other options, for new connections."""
        if self._driver is not None:
            self._driver.args, self._driver.options = (dsn,), options

    def get_statistics(self) -> dict[str, Any]:
        """Return statistics, with times in seconds or as the name says."""
        node = self._primary
        return {
            "query_stats": self._record.summary(),
            "slow_queries": self._record.slow,
            "pool_stats": {} if node is None else statistics.describe_node(node),
            "cache_stats": statistics.describe_cache(self._cache),
            "health": {} if node is None else statistics.describe_health(node),
            "replicas": statistics.describe_replicas(self._replicas),
            "top_queries": statistics.top(self._knowledge.analyst, 20),
        }


def _row(verdict: Verdict, args: tuple[Any, ...]) -> tuple[int, int] | None:
    """Return the one row that a statement is about, if it is about one."""
    if verdict.row is None:
        return None
    table, number = verdict.row
    value = args[number - 1] if number <= len(args) else None
    return (table, value) if type(value) is int else None
