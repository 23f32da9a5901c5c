"""The pool, the query cache and batches beside asyncpg's own, on the embedded server.

`python asv_benchmarks/benchmarks/database.py` prints all of it as one table, with the ways of each
row taken in turn, so that a busy machine slows all of them alike. Commits wait for no disk in any
of the ways: what is measured is the pool.
"""

import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from overdrive.database import DatabaseConfig, EmbeddedPostgres

try:
    import asyncpg

    from overdrive.database import OptimizedConnectionPool
except ImportError:
    asyncpg = None

ROWS = 1000
CONNECTIONS = 10
BATCH = 10_000
READ = "select id, status, score from agents where id = $1"
WRITE = "update agents set score = score + 1 where id = $1"
INSERT = "insert into log values ($1, $2, $3)"
SCHEMA = """
    drop table if exists agents, log;
    create table agents (id int primary key, status text, score int);
    insert into agents select g, 'active', 0 from generate_series(0, 999) g;
    create table log (id int, status text, score float8);
    vacuum analyze agents;
"""

Work = Callable[[], Awaitable[Any]]


class Bench:
    """A server, connections in every way, and the work to be timed."""

    async def open(self, dsn: str) -> "Bench":
        """Make the tables and open everything."""
        self.dsn = dsn
        settings = {"synchronous_commit": "off"}
        self.bare = await asyncpg.connect(dsn, server_settings=settings)
        for statement in filter(str.strip, SCHEMA.split(";")):
            await self.bare.execute(statement)
        self.plain = await asyncpg.create_pool(
            dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=settings
        )
        self.ours, self.uncached = [
            await OptimizedConnectionPool(
                DatabaseConfig(
                    database_url=dsn,
                    min_connections=CONNECTIONS,
                    max_connections=CONNECTIONS,
                    query_cache_size=size,
                    server_settings=settings,
                )
            )
            for size in (ROWS, 0)
        ]
        self.rng = random.Random(1)  # noqa: S311 - keys
        self.records = [(n, f"status {n % 7}", n / 3) for n in range(BATCH)]
        return self

    async def close(self) -> None:
        """Close everything."""
        await self.ours.close()
        await self.uncached.close()
        await self.plain.close()
        await self.bare.close()

    async def read_bare(self) -> None:
        """One read on one connection."""
        await self.bare.fetch(READ, self.rng.randrange(ROWS))

    async def read_plain(self) -> None:
        """One read by asyncpg's pool."""
        await self.plain.fetch(READ, self.rng.randrange(ROWS))

    async def read_ours(self) -> None:
        """One read by this pool."""
        await self.ours.execute_query(READ, self.rng.randrange(ROWS))

    async def read_cached(self) -> None:
        """One read that was asked for before."""
        await self.ours.execute_query(READ, 1, use_cache=True)

    async def read_naive(self) -> None:
        """One read on a connection of its own."""
        connection = await asyncpg.connect(self.dsn)
        await connection.fetch(READ, self.rng.randrange(ROWS))
        await connection.close()

    async def clients(self, read: Work, clients: int = 50, each: int = 10) -> None:
        """Read by many clients at once."""

        async def client() -> None:
            for _ in range(each):
                await read()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def mix(self, read: Callable[[int], Awaitable[Any]], pool: Any) -> None:
        """Four reads for each write, by ten clients, with some keys far more often than others."""

        async def client() -> None:
            for _ in range(25):
                key = min(int(self.rng.paretovariate(1.0)) - 1, ROWS - 1)
                if self.rng.random() < 0.8:
                    await read(key)
                else:
                    await pool.execute(WRITE, key)

        await asyncio.gather(*(client() for _ in range(10)))

    async def mix_plain(self) -> None:
        """The mix by asyncpg's pool."""
        await self.mix(lambda key: self.plain.fetch(READ, key), self.plain)

    async def mix_ours(self) -> None:
        """The mix by this pool, with its cache."""
        await self.mix(lambda key: self.ours.execute_query(READ, key, use_cache=True), self.ours)

    async def write_uncached(self) -> None:
        """One change without a cache."""
        await self.uncached.execute(WRITE, 1)

    async def write_invalidating(self) -> None:
        """One change that drops a kept result."""
        await self.ours.execute(WRITE, 1)

    async def many_bare(self) -> None:
        """All rows by asyncpg's `executemany`."""
        await self.bare.executemany(INSERT, self.records)

    async def many_batches(self) -> None:
        """All rows by batches."""
        await self.ours.execute_many(INSERT, self.records, use_copy=False)

    async def many_copy(self) -> None:
        """All rows by `COPY`."""
        await self.ours.execute_many(INSERT, self.records)


async def seconds(work: Work, times: int, before: Work | None = None) -> float:
    """Return the seconds that one of so many runs took."""
    total = 0.0
    for _ in range(times):
        if before is not None:
            await before()
        began = time.perf_counter()
        await work()
        total += time.perf_counter() - began
    return total / times


async def rounds(
    ways: dict[str, Work], times: int, number: int, before: Work | None = None
) -> dict[str, float]:
    """Time several ways in turn, and return the median of each in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(number):
        for name, work in ways.items():
            taken[name].append(await seconds(work, times, before))
    return {name: statistics.median(values) for name, values in taken.items()}


def row(name: str, one: float, other: float, ratio: float, target: str) -> None:
    """Print a row of the table: the times of the baseline and of ours in microseconds."""
    sys.stdout.write(f"{name:46}{one * 1e6:12.1f}{other * 1e6:12.1f}{ratio:9.2f}   {target}\n")


async def table(dsn: str) -> None:
    """Measure everything and print it."""
    b = await Bench().open(dsn)
    sys.stdout.write(f"{'':46}{'baseline us':>12}{'ours us':>12}{'ratio':>9}   target\n")

    # One operation of each in turn: the median of many is not moved by other programs' turns.
    t = await rounds({"bare": b.read_bare, "plain": b.read_plain, "ours": b.read_ours}, 1, 1000)
    t |= await rounds({"naive": b.read_naive}, 1, 50)
    ours = t["ours"]
    row("one read: to bare Connection.fetch", t["bare"], ours, ours / t["bare"], "<= 1.2")
    row("one read: asyncpg.Pool.fetch to it", t["plain"], ours, t["plain"] / ours, ">= 1.8")
    row("one read: a connection per query to it", t["naive"], ours, t["naive"] / ours, ">= 20")
    await b.read_cached()
    cached = (await rounds({"cached": b.read_cached}, 2000, 9))["cached"]
    row("cached read: uncached one to it", ours, cached, ours / cached, ">= 15, < 5 us")

    t = await rounds(
        {"plain": lambda: b.clients(b.read_plain), "ours": lambda: b.clients(b.read_ours)}, 1, 15
    )
    row("50 clients, 10 connections, 500 reads", t["plain"], t["ours"], t["plain"] / t["ours"],
        ">= 1.25")  # fmt: skip

    t = await rounds({"plain": b.mix_plain, "ours": b.mix_ours}, 1, 25)
    row(
        "mix of 80 % reads, 10 clients, 250 operations",
        t["plain"],
        t["ours"],
        t["plain"] / t["ours"],
        ">= 3",
    )

    t = await rounds(
        {"without": b.write_uncached, "with": b.write_invalidating}, 1, 1000, b.read_cached
    )
    row("one write: with invalidation to without", t["without"], t["with"],
        t["with"] / t["without"], "<= 1.05")  # fmt: skip

    t = await rounds({"bare": b.many_bare, "batches": b.many_batches, "copy": b.many_copy}, 1, 25)
    row("10,000 rows in batches to executemany", t["bare"], t["batches"],
        t["batches"] / t["bare"], "<= 1")  # fmt: skip
    row("10,000 rows: executemany to COPY", t["bare"], t["copy"], t["bare"] / t["copy"], ">= 3")

    await b.ours.execute(WRITE, 1)
    before = b.ours.get_statistics()["query_stats"]["executed_queries"]
    await asyncio.gather(*(b.read_cached() for _ in range(1000)))
    queries = b.ours.get_statistics()["query_stats"]["executed_queries"] - before
    row("1,000 identical misses: queries", math.nan, math.nan, queries, "1")
    await b.close()


def open_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory that the server's own user may enter."""
    directory = tempfile.TemporaryDirectory(prefix="overdrive-bench-")
    Path(directory.name).chmod(0o755)
    return directory


class Database:
    """The time of one operation, by way."""

    param_names = ("way",)
    params = ([
        "read_bare", "read_plain", "read_ours", "read_cached", "read_naive", "write_uncached",
        "write_invalidating", "mix_plain", "mix_ours", "many_bare", "many_batches", "many_copy",
    ],)  # fmt: skip

    def setup(self, way: str) -> None:
        """Start a server and open pools."""
        if asyncpg is None:
            raise NotImplementedError
        self.directory = open_directory()
        self.postgres = EmbeddedPostgres(Path(self.directory.name) / "data")
        self.postgres.start()
        self.loop = asyncio.new_event_loop()
        self.bench = self.loop.run_until_complete(Bench().open(self.postgres.dsn))
        self.work = getattr(self.bench, way)
        self.loop.run_until_complete(self.work())

    def teardown(self, way: str) -> None:
        """Close and stop everything."""
        self.loop.run_until_complete(self.bench.close())
        self.loop.close()
        self.postgres.stop()
        self.directory.cleanup()

    def time_one(self, _way: str) -> None:
        """Do it once."""
        self.loop.run_until_complete(self.work())

    def time_fifty_clients(self, _way: str) -> None:
        """Fifty clients do it at once, on ten connections."""
        if not _way.startswith("read_") or _way in {"read_bare", "read_naive"}:
            return
        self.loop.run_until_complete(self.bench.clients(self.work, each=1))


def main() -> None:
    """Print the table."""
    with open_directory() as directory, EmbeddedPostgres(Path(directory) / "data") as postgres:
        asyncio.run(table(postgres.dsn))


if __name__ == "__main__":
    main()
