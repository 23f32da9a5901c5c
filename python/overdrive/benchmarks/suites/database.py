"""The database: connections, results that are kept, and rows in batches."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from overdrive.benchmarks.measure import baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.benchmarks.services import AGENTS
from overdrive.database import DatabaseConfig, OptimizedConnectionPool

__all__ = ["batch_operations", "connection_pooling", "query_caching"]

CONNECTIONS = 10
READ = "select id, name, score from agents where id = $1"
TEAM_READ = "select avg(score), max(score), count(*) from agents where team = $1"
WRITE = "update agents set score = score + 1 where id = $1"
INSERT = "insert into log values ($1, $2, $3)"
READS_OF_TEN = 8
"""How many of ten operations are reads, where reads and writes are mixed."""

Read = Callable[[int], Awaitable[Any]]


@asynccontextmanager
async def _pools(record: Record) -> AsyncIterator[tuple[Any, OptimizedConnectionPool, str]]:
    """Open asyncpg's pool and ours, of equal size, on fresh tables."""
    dsn = await record.services.fresh_tables()
    # No commit waits for a disk, in any way: what is measured is the pool.
    settings = {"synchronous_commit": "off"}
    config = DatabaseConfig(
        database_url=dsn,
        min_connections=CONNECTIONS,
        max_connections=CONNECTIONS,
        server_settings=settings,
    )
    async with (
        asyncpg.create_pool(
            dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=settings
        ) as plain,
        OptimizedConnectionPool(config) as pool,
    ):
        yield plain, pool, dsn


async def _clients(read: Read, clients: int, each: int) -> None:
    async def client(number: int) -> None:
        for i in range(each):
            await read((number * 97 + i * 31) % AGENTS)

    await asyncio.gather(*(client(number) for number in range(clients)))


async def connection_pooling(record: Record) -> None:
    """Reads by 50 clients, beside a connection for each query and beside asyncpg's own pool."""
    each = record.plan.size(4, 1)
    async with _pools(record) as (plain, pool, dsn):

        async def connect(key: int) -> Any:
            connection = await asyncpg.connect(dsn)
            try:
                return await connection.fetch(READ, key)
            finally:
                await connection.close()

        same = await connect(1) == await pool.execute_query(READ, 1)
        record.check(same, "the pool and a connection read different rows")
        await record.compare(
            f"{50 * each} reads by 50 clients",
            ours(
                "OptimizedConnectionPool",
                lambda: _clients(lambda key: pool.execute_query(READ, key), 50, each),
            ),
            baseline("a connection for each query", lambda: _in_tens(connect, 50 * each)),
            peer(
                "asyncpg.Pool",
                lambda: _clients(lambda key: plain.fetch(READ, key), 50, each),
            ),
        )


async def _in_tens(read: Read, count: int) -> None:
    """Read by ten clients, because a server takes only so many connections."""
    await _clients(read, CONNECTIONS, -(-count // CONNECTIONS))


async def query_caching(record: Record) -> None:
    """One read again and again, and a mix of reads and writes with some keys far more often.

    Every write drops the results it changes, so no way returns an old one.
    """
    reads = record.plan.size(500, 100)
    async with _pools(record) as (plain, pool, _):

        def cached(key: int) -> Awaitable[Any]:
            return pool.execute_query(TEAM_READ, key % 100, use_cache=True)

        async def repeat(read: Callable[[], Awaitable[Any]]) -> None:
            for _ in range(reads):
                await read()

        await record.compare(
            f"{reads} times the same read",
            ours("use_cache=True", lambda: repeat(lambda: cached(1))),
            baseline("asyncpg.Pool", lambda: repeat(lambda: plain.fetch(TEAM_READ, 1))),
        )
        await record.compare(
            "200 operations by 10 clients, 80 % reads",
            ours("use_cache=True", lambda: _mix(record, cached, pool.execute)),
            baseline(
                "asyncpg.Pool",
                lambda: _mix(record, lambda k: plain.fetch(TEAM_READ, k % 100), plain.execute),
            ),
        )
        cache = pool.get_statistics()["cache_stats"]
        record.facts["hit rate of the cache"] = float(cache["hit_rate"])


async def _mix(record: Record, read: Read, write: Callable[..., Awaitable[Any]]) -> None:
    lot = random.Random(record.plan.seed)  # noqa: S311 - keys

    async def client() -> None:
        for _ in range(20):
            key = min(int(lot.paretovariate(1.0)) - 1, AGENTS - 1)
            if lot.randrange(10) < READS_OF_TEN:
                await read(key)
            else:
                await write(WRITE, key)

    await asyncio.gather(*(client() for _ in range(10)))


async def batch_operations(record: Record) -> None:
    """Many rows at once, and a statement that is prepared once."""
    count = record.plan.size(5_000, 500)
    rows = [(n, f"status {n % 7}", n / 3) for n in range(count)]
    single = rows[: count // 10]
    async with _pools(record) as (plain, pool, _):

        async def one_by_one() -> None:
            for row in single:
                await plain.execute(INSERT, *row)

        await record.compare(
            f"{len(single):,} rows",
            ours("execute_many", lambda: pool.execute_many(INSERT, single)),
            baseline("one insert a row", one_by_one),
            peer("asyncpg executemany", lambda: plain.executemany(INSERT, single)),
        )
        await record.compare(
            f"{count:,} rows",
            ours("execute_many", lambda: pool.execute_many(INSERT, rows)),
            baseline("asyncpg executemany", lambda: plain.executemany(INSERT, rows)),
        )
        await _prepared(record, plain, pool)
        written = await plain.fetchval("select count(*) from log")
        record.check(written % len(single) == 0, f"{written} rows are not whole batches")


async def _prepared(record: Record, plain: Any, pool: OptimizedConnectionPool) -> None:
    """Compare with a statement that the server has to parse and plan each time."""
    reads = record.plan.size(200, 20)
    handle = await pool.prepare_statement(READ)
    unprepared = await asyncpg.connect(pool.dsn, statement_cache_size=0)

    async def repeat(read: Read) -> None:
        for key in range(reads):
            await read(key)

    try:
        await record.compare(
            f"{reads} reads with a prepared statement",
            ours("execute_prepared", lambda: repeat(lambda k: pool.execute_prepared(handle, k))),
            baseline(
                "prepared anew each time", lambda: repeat(lambda k: unprepared.fetch(READ, k))
            ),
            peer("asyncpg.Pool", lambda: repeat(lambda k: plain.fetch(READ, k))),
        )
    finally:
        await unprepared.close()
