"""The promise of the query cache, against random programs of several clients at once.

Each row holds a version that only grows, so an answer shows which commit it comes from. A read that
begins after a commit was acknowledged must show that version or a later one; no read may show a
version that was rolled back or never written. A write whose answer was lost may count or not.
"""

import asyncio
import contextlib
import itertools
import os
import random

import asyncpg
import pytest
from driving import until

from overdrive.database import DatabaseConfig, create_pool

ROWS = 2
SCHEMA = """
    create table versions (id int primary key, v bigint not null);
    create view all_versions as select id, v from versions;
    create table copies (id int primary key references versions on delete cascade, v bigint);
"""
READS = {
    "table": "select v from versions where id = $1",
    "view": "select v from all_versions where id = $1",
    "join": "select a.v from versions a join all_versions b on a.id = b.id and b.id = $1",
}
WRITE = "update versions set v = greatest(v, $2) where id = $1"

READ = ["read"] * 7
OWN = ["write", "commit", "roll back", "savepoint", "prepared", "cancel", "copy"]
SEEDS = range(60 if os.environ.get("HYPOTHESIS_PROFILE") == "slow" else 8)


def programs(seed, kinds, clients=5, steps=30):
    """Make a random program for each client: lists of (what, how, which row)."""
    rng = random.Random(seed)
    return [
        [(rng.choice(kinds), rng.choice(sorted(READS)), rng.randrange(ROWS)) for _ in range(steps)]
        for _ in range(clients)
    ]


class World:
    """What was written, acknowledged and rolled back so far."""

    def __init__(self, pool):
        self.pool = pool
        self.numbers = itertools.count(1)
        self.acknowledged = [0] * ROWS
        self.possible = [{0} for _ in range(ROWS)]

    def new(self, key):
        number = next(self.numbers)
        self.possible[key].add(number)
        return number

    def acknowledge(self, key, number):
        self.acknowledged[key] = max(self.acknowledged[key], number)

    async def do(self, operation):
        kind, way, key = operation
        await getattr(self, kind.replace(" ", "_"))(way, key)

    async def read(self, way, key):
        least = self.acknowledged[key]
        rows = await self.pool.execute_query(READS[way], key, use_cache=True)
        seen = rows[0][0]
        assert seen >= least, f"row {key}: {least} was acknowledged, {seen} is shown"
        assert seen in self.possible[key], f"row {key}: {seen} was never committed"

    async def write(self, _way, key):
        number = self.new(key)
        await self.pool.execute(WRITE, key, number)
        self.acknowledge(key, number)

    async def commit(self, _way, key):
        number = self.new(key)
        async with self.pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute(WRITE, key, number)
                await asyncio.sleep(0)
            self.acknowledge(key, number)

    async def savepoint(self, _way, key):
        number = self.new(key)
        async with self.pool.acquire() as connection:
            async with connection.transaction():
                with contextlib.suppress(ZeroDivisionError):
                    async with connection.transaction():
                        await connection.execute(WRITE, key, next(self.numbers))
                        raise ZeroDivisionError
                await connection.execute(WRITE, key, number)
            self.acknowledge(key, number)

    async def roll_back(self, _way, key):
        # Not a possible version: nobody may see it.
        async with self.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(WRITE, key, next(self.numbers))
            await asyncio.sleep(0)
            await transaction.rollback()

    async def prepared(self, _way, key):
        number = self.new(key)
        async with self.pool.acquire() as connection:
            statement = await connection.prepare(WRITE)
            await statement.fetch(key, number)
            self.acknowledge(key, number)

    async def copy(self, _way, key):
        number = self.new(key)
        query = "insert into versions values ($1, $2) on conflict (id) do update set v = excluded.v"
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("select 1 from versions where id = $1 for update", key)
            now = await connection.fetchval(READS["table"], key)
            number = max(number, now)
            await connection.executemany(query, [(key, number)])
        self.acknowledge(key, number)

    async def cancel(self, _way, key):
        number = self.new(key)
        task = asyncio.ensure_future(self.pool.execute(WRITE, key, number))
        for _ in range(key + 1):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is None:
            self.acknowledge(key, number)

    async def kill(self, _way, _key):
        with contextlib.suppress(asyncpg.PostgresError):
            await self.pool.fetchval(
                "select pg_terminate_backend(pid) from pg_stat_activity where"
                " datname = current_database() and pid <> pg_backend_pid() and state = 'idle'"
                " limit 1"
            )

    async def pause(self, _way, key):
        await asyncio.sleep(0.001 * key)

    async def schema(self, _way, _key):
        await self.pool.execute("create or replace view all_versions as select id, v from versions")


LOST = (
    ConnectionError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.DeadlockDetectedError,
)  # fmt: skip


async def run_client(world, operations):
    for operation in operations:
        # A connection may be killed under a write, which then may count or not.
        with contextlib.suppress(*LOST):
            await world.do(operation)


async def prepare(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("drop table if exists versions, copies cascade")
        await connection.execute(SCHEMA)
        await connection.executemany("insert into versions values ($1, 0)", [(0,), (1,)])
    finally:
        await connection.close()


class SlowLine(asyncpg.Connection):
    """A connection over a line on which the answer to a query now and then takes its time."""

    rng = random.Random(5)

    async def fetch(self, *args, **options):
        rows = await super().fetch(*args, **options)
        await asyncio.sleep(self.rng.choice([0, 0.002, 0.01]))
        return rows


def open_pool(dsn, **options):
    settings = DatabaseConfig(acquire_timeout=20.0, **options)
    return create_pool(dsn, min_size=2, max_size=4, connection_class=SlowLine, config=settings)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
async def test_after_a_commit_no_later_read_shows_the_old_rows(dsn, seed):
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    await prepare(dsn)
    kinds = READ * 3 + OWN + ["kill", "pause"] + (["schema"] if seed % 4 == 3 else [])
    async with open_pool(dsn) as pool:
        world = World(pool)
        await asyncio.gather(*(run_client(world, p) for p in programs(seed, kinds)))
        for key, way in itertools.product(range(ROWS), READS):
            await world.read(way, key)
        await until(lambda: pool._primary.in_use == 0 and not pool._primary._tasks)
        assert pool._primary.waiting == 0
        assert pool._cache.counts.hits > 0 or seed % 4 == 3
    assert [c for c in errors if "active transaction" not in c["message"]] == []


class Foreign(World):
    """Writes by another program, of which the pool hears; it is told nothing."""

    def __init__(self, pool, connection):
        super().__init__(pool)
        self.connection = connection
        self.lock = asyncio.Lock()

    async def write(self, _way, key):
        number = self.new(key)
        async with self.lock:
            await self.connection.execute(WRITE, key, number)
        self.acknowledge(key, number)

    async def read(self, way, key):
        least = self.acknowledged[key]

        async def fresh():
            rows = await self.pool.execute_query(READS[way], key, use_cache=True)
            assert rows[0][0] in self.possible[key]
            return rows[0][0] >= least

        await until(fresh, seconds=self.pool.changes_delay)

    async def kill(self, _way, _key):
        async with self.lock:
            await self.connection.fetch(
                "select pg_terminate_backend($1) where $1 > 0", self.pool._changes._pid
            )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_commit_by_others_is_seen_within_the_stated_time(dsn, seed):
    await prepare(dsn)
    connection = await asyncpg.connect(dsn)
    async with open_pool(dsn, track_changes=True) as pool:
        world = Foreign(pool, connection)
        kinds = READ + ["write", "write", "pause"] + (["kill"] if seed % 2 else [])
        await asyncio.gather(*(run_client(world, p) for p in programs(seed, kinds)))
        for key, way in itertools.product(range(ROWS), READS):
            await world.read(way, key)
        assert pool._cache.counts.hits > 0 or seed % 2
    await connection.close()
