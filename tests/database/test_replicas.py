"""Reads on real streaming replicas, one of them delayed on purpose."""

import asyncio

import asyncpg
import pytest
from driving import until
from topology import MISSING, NO_BOUNCER, Bouncer, Topology, pgbouncer, programs

from overdrive.database import DatabaseConfig, OptimizedConnectionPool

pytestmark = [
    pytest.mark.skipif(programs() is None, reason=MISSING),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def servers(open_directory):
    directory = open_directory / "replicas"
    directory.mkdir()
    with Topology(directory) as topology:
        yield topology


@pytest.fixture
def table(servers):
    async def run():
        connection = await asyncpg.connect(servers.primary.dsn)
        await connection.execute("drop table if exists t; create table t (a int)")
        await connection.close()

    asyncio.run(run())


def open_pool(servers, *replicas, **settings):
    return OptimizedConnectionPool(
        DatabaseConfig(
            database_url=servers.primary.dsn,
            read_replica_urls=[replica.dsn for replica in replicas],
            **({"min_connections": 1, "max_connections": 4, "max_replica_lag": 5.0} | settings),
        )
    )


PORT = "select current_setting('port')::int"
COUNT = "select count(*), current_setting('port')::int as port from t"


def replica(pool, number=0):
    return pool._replicas.all[number]


async def usable(pool, number=0):
    await until(lambda: replica(pool, number).usable and replica(pool, number).lag < 5)


@pytest.mark.usefixtures("table")
async def test_reads_go_to_a_replica_and_writes_to_the_primary(servers):
    async with open_pool(servers, servers.replica) as pool:
        await usable(pool)
        assert await pool.fetchval(PORT) == servers.replica.port
        for query in (
            "with i as (insert into t values (1) returning 1) select current_setting('port')::int",
            "select current_setting('port')::int from t for update",
            "select current_setting('port')::int, random() order by 1 desc",
            "create temp table x as select 1; select 1",
        ):
            if query.startswith("create"):
                await pool.execute(query)
            else:
                rows = await pool.execute_query(query)
                assert all(row[0] == servers.primary.port for row in rows), query
        async with pool.acquire() as connection:
            assert await connection.fetchval(PORT) == servers.primary.port


@pytest.mark.usefixtures("table")
async def test_a_read_sees_the_writes_before_it(servers):
    async with open_pool(servers, servers.delayed, servers.replica) as pool:
        await usable(pool, 0)
        await usable(pool, 1)
        ports = set()
        for number in range(1, 30):
            await pool.execute("insert into t values (1)")
            count, port = (await pool.execute_query(COUNT))[0]
            assert count == number
            ports.add(port)
            await asyncio.sleep(0.02 * (number % 3))
        assert servers.delayed.port not in ports
        assert servers.primary.port in ports


@pytest.mark.usefixtures("table")
async def test_a_transaction_counts_as_a_write_when_it_commits(servers):
    async with open_pool(servers, servers.delayed) as pool:
        await usable(pool)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("insert into t values (1)")
        assert (await pool.execute_query(COUNT))[0] == (1, servers.primary.port)
        await until(
            lambda: replica(pool).replayed >= pool._replicas._needed[1] > 0 and replica(pool).usable
        )
        assert (await pool.execute_query(COUNT))[0] == (1, servers.delayed.port)


@pytest.mark.usefixtures("table")
async def test_reads_may_be_old_if_they_are_allowed_to(servers):
    async with open_pool(servers, servers.delayed, read_consistency="eventual") as pool:
        await usable(pool)
        await pool.execute("insert into t values (1)")
        assert (await pool.execute_query(COUNT))[0] == (0, servers.delayed.port)


@pytest.mark.usefixtures("table")
async def test_a_replica_that_is_too_far_behind_gets_no_reads(servers):
    options = {"read_consistency": "eventual", "max_replica_lag": 0.1}
    async with open_pool(servers, servers.delayed, **options) as pool:
        writing = True

        async def write():
            while writing:
                await pool.execute("insert into t values (1)")
                await asyncio.sleep(0.01)

        task = asyncio.ensure_future(write())
        await until(lambda: replica(pool).lag > 0.2)
        assert await pool.fetchval(PORT) == servers.primary.port
        writing = False
        await task
        # An idle primary: the replica has replayed nothing for a while, and is not behind.
        await until(lambda: replica(pool).lag == 0)
        await asyncio.sleep(0.3)
        assert await pool.fetchval(PORT) == servers.delayed.port


@pytest.mark.usefixtures("table")
async def test_what_is_kept_never_comes_from_a_replica(servers):
    async with open_pool(servers, servers.delayed, read_consistency="eventual") as pool:
        await usable(pool)
        await until(lambda: not pool._knowledge.analyst.stale)
        await pool.reload_schema()
        for number in range(1, 4):
            await pool.execute("insert into t values (1)")
            rows = await pool.execute_query("select count(*) from t", use_cache=True)
            assert rows == [(number,)]


@pytest.mark.usefixtures("table")
async def test_a_connection_for_reads_refuses_writes_everywhere(servers):
    async with open_pool(servers, servers.replica) as pool:
        await usable(pool)
        for _ in range(2):
            async with pool.read() as connection:
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.execute("insert into t values (1)")
            replica(pool).lag = float("inf")
            for task in pool._replicas._tasks:
                task.cancel()
        async with pool.read() as connection:
            assert await connection.fetchval(PORT) == servers.primary.port
        async with pool.write() as connection:
            await connection.execute("insert into t values (1)")


@pytest.mark.usefixtures("table")
async def test_a_lost_replica_is_replaced_by_the_primary_and_comes_back(servers):
    async with open_pool(servers, servers.replica, health_check_timeout=1.0) as pool:
        await usable(pool)
        assert await pool.fetchval(PORT) == servers.replica.port
        await asyncio.to_thread(servers.replica.stop)
        try:
            for _ in range(5):
                assert await pool.fetchval(PORT) == servers.primary.port
            assert not replica(pool).usable
            assert pool.get_statistics()["replicas"]["fallbacks_to_primary"] > 0
        finally:
            await asyncio.to_thread(servers.replica.start)
        await until(lambda: replica(pool).usable)
        await until(lambda: replica(pool).lag < 5)
        assert await pool.fetchval(PORT) == servers.replica.port


async def test_a_replica_that_is_no_replica_is_not_used(servers):
    async with open_pool(servers, servers.primary) as pool:
        await until(lambda: replica(pool).replayed == 0 and not replica(pool).usable)
        assert await pool.fetchval(PORT) == servers.primary.port
        assert pool.get_statistics()["replicas"]["nodes"][0]["reads"] == 0


# Behind PgBouncer in transaction mode


@pytest.fixture
def bouncer(servers, open_directory):
    if pgbouncer() is None:
        pytest.skip(NO_BOUNCER)
    directory = open_directory / "pgbouncer"
    directory.mkdir()
    directory.chmod(0o755)
    with Bouncer(directory, servers.primary.port) as running:
        yield running


@pytest.mark.usefixtures("table")
async def test_it_works_behind_pgbouncer_in_transaction_mode(servers, bouncer):
    config = DatabaseConfig(
        database_url=bouncer.dsn,
        listen_url=servers.primary.dsn,
        min_connections=1,
        max_connections=8,
        statement_cache_size=0,
        track_changes=True,
    )
    async with OptimizedConnectionPool(config) as pool:
        handle = await pool.prepare_statement("select $1::int + count(*) from t")

        async def client(number):
            assert await pool.execute_prepared(handle, number) is not None
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("insert into t values ($1)", number)
            return await pool.fetchval("select a from t where a = $1", number)

        assert await asyncio.gather(*(client(n) for n in range(20))) == list(range(20))
        await pool.execute("alter table t add b int default 1")
        assert len((await pool.execute_query("select * from t limit 1"))[0]) == 2
        await until(lambda: not pool._knowledge.analyst.stale)
        query = "select count(*) from t"
        for _ in range(2):
            assert await pool.execute_query(query, use_cache=True) == [(20,)]
        assert await pool.execute_many("insert into t (a) values ($1)", [(1,)] * 200) == 200
        assert await pool.execute_query(query, use_cache=True) == [(220,)]
        other = await asyncpg.connect(servers.primary.dsn)
        await other.execute("delete from t")
        await other.close()

        async def seen():
            return await pool.execute_query(query, use_cache=True) == [(0,)]

        await until(seen)
