import asyncio
import contextlib
import gc
import logging
import os
import random

import asyncpg
import pytest
from driving import cancel_everywhere, sessions, until

from overdrive.database import (
    DatabaseConfig,
    OptimizedConnectionPool,
    PoolClosedError,
    PoolMisuseError,
    PoolTimeoutError,
    TooManyWaitersError,
    create_pool,
)
from overdrive.errors import OverdriveError


def node(pool):
    return pool._primary


async def test_a_query_returns_rows(open_pool):
    async with open_pool() as pool:
        assert await pool.execute_query("select $1::int + 1 as x", 41) == [(42,)]


async def test_a_program_for_asyncpg_runs_unchanged(dsn):
    async def program(create):
        async with create(dsn, min_size=1, max_size=2, command_timeout=10) as pool:
            await pool.execute("create table t (a int, b text)")
            assert await pool.execute("insert into t values ($1, $2)", 1, "x") == "INSERT 0 1"
            await pool.executemany("insert into t values ($1, $2)", [(2, "y"), (3, "z")])
            await pool.copy_records_to_table("t", records=[(4, "q")])
            rows = await pool.fetch("select * from t order by a")
            row = await pool.fetchrow("select * from t where a = $1", 2)
            value = await pool.fetchval("select b, a from t where a = $1", 3, column=1)
            many = await pool.fetchmany("select $1::int as n", [(1,), (2,)])
            async with pool.acquire(timeout=5) as connection:
                assert isinstance(connection, asyncpg.Connection)
                async with connection.transaction():
                    cursor = connection.cursor("select a from t order by a")
                    numbers = [record["a"] async for record in cursor]
                statement = await connection.prepare("select $1::int * 2")
                double = await statement.fetchval(21)
            connection = await pool.acquire()
            await pool.release(connection)
            await pool.release(connection)
            sizes = pool.get_min_size(), pool.get_max_size(), pool.get_size() >= 1
            await pool.expire_connections()
            await pool.execute("drop table t")
            answer = [tuple(r) for r in rows], dict(row), value, many, numbers, double, sizes
        with pytest.raises((asyncpg.InterfaceError, PoolClosedError)):
            await pool.fetch("select 1")
        return answer

    assert await program(asyncpg.create_pool) == await program(create_pool)


async def test_hooks_are_called_when_asyncpg_calls_them(dsn):
    async def program(create):
        calls = []

        def hook(name):
            async def call(connection):
                calls.append((name, await connection.fetchval("select 1")))

            return call

        hooks = {name: hook(name) for name in ("init", "setup", "reset")}
        async with create(dsn, min_size=1, max_size=1, **hooks) as pool:
            await pool.fetch("select 1")
            async with pool.acquire():
                pass
        return calls

    assert await program(asyncpg.create_pool) == await program(create_pool)


async def test_a_connection_is_refused_after_it_was_given_back(open_pool):
    async with open_pool() as pool:
        async with pool.acquire() as connection:
            statement = await connection.prepare("select 1")
        with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
            await connection.fetch("select 1")
        with pytest.raises(asyncpg.InterfaceError, match="released back"):
            await statement.fetch()


@pytest.mark.parametrize(
    "statement",
    [
        "set work_mem = '7777kB'",
        "select set_config('work_mem', '7777kB', false)",
        "select 1; set work_mem = '7777kB'",
        "do $$ begin perform set_config('work_mem', '7777kB', false); end $$",
        "select sneaky()",
        "select * from sneaky_view",
        "insert into sneaky_table values (1)",
        "select q.x from (select 1) s(y), lateral (select sneaky() as x) q",
    ],
)
async def test_a_statement_that_changes_the_session_is_followed_by_a_reset(open_pool, statement):
    async with open_pool(max_connections=1) as pool:
        await pool.execute("""
            create function sneaky() returns int language plpgsql as
            $$ begin perform set_config('work_mem', '7777kB', false); return 1; end $$;
            create function sneakier() returns trigger language plpgsql as
            $$ begin perform sneaky(); return new; end $$;
            create view sneaky_view as select sneaky();
            create table sneaky_table (x int);
            create trigger sneaky before insert on sneaky_table for each row
            execute function sneakier();
        """)
        await pool.reload_schema()
        with contextlib.suppress(asyncpg.PostgresError):
            await pool.execute(statement)
        assert await pool.fetchval("show work_mem") != "7777kB"


async def test_a_role_is_given_up_with_the_connection(open_pool):
    async with open_pool(max_connections=1) as pool:
        await pool.execute("set role pg_monitor")
        assert await pool.fetchval("select current_user = session_user")


async def test_queries_and_changes_of_rows_need_no_reset(open_pool):
    async with open_pool(max_connections=1) as pool:
        await pool.execute("create table t (a int primary key default 7, b timestamptz)")
        await pool.reload_schema()
        before = node(pool).counts.resets
        await pool.execute_query("select * from t where a = $1", 1)
        await pool.execute_query("insert into t (b) values (now()) returning a")
        await pool.execute_query("with d as (delete from t returning a) select count(*) from d")
        await pool.execute_query("update t set b = clock_timestamp() where a in (select 1)")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("insert into t values (3)")
        assert node(pool).counts.resets == before


async def test_an_open_transaction_ends_with_the_lease(open_pool, dsn):
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with open_pool(max_connections=1) as pool:
        await pool.execute("create table t (a int)")
        async with pool.acquire() as connection:
            await connection.execute("begin")
            await connection.execute("insert into t values (1)")
        assert await pool.fetchval("select count(*) from t") == 0
        assert "idle in transaction" not in await sessions(dsn)
    assert "active transaction" in errors[0]["message"]


async def test_who_waits_longest_is_served_first(open_pool):
    async with open_pool(max_connections=1) as pool:
        order = []

        async def use(number):
            async with pool.acquire():
                order.append(number)

        async with pool.acquire():
            tasks = []
            for number in range(10):
                tasks.append(asyncio.ensure_future(use(number)))
                await until(lambda n=number: node(pool).waiting == n + 1)
            tasks.pop(4).cancel()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_a_newcomer_does_not_overtake(open_pool):
    async with open_pool(max_connections=1) as pool:
        order = []

        async def use(name):
            await pool.execute_query("select 1")
            order.append(name)

        async with pool.acquire():
            first = asyncio.ensure_future(use("first"))
            await until(lambda: node(pool).waiting == 1)
        # The connection is free, and promised to the first.
        await use("second")
        await first
        assert order == ["first", "second"]


async def test_the_deadline_says_what_stood_in_the_way(open_pool):
    async with open_pool(max_connections=1) as pool, pool.acquire():
        with pytest.raises(PoolTimeoutError, match=r"1 of 1 are in use.*0 other callers wait"):
            await pool.execute_query("select 1", timeout=0.05)
        with pytest.raises(TimeoutError):
            async with pool.acquire(timeout=0.05):
                pass
        assert node(pool).counts.timeouts == 2


async def test_too_many_waiters_are_refused_at_once(open_pool):
    async with open_pool(max_connections=1, max_waiting=1) as pool:
        async with pool.acquire():
            waiter = asyncio.ensure_future(pool.fetchval("select 1"))
            await until(lambda: node(pool).waiting == 1)
            with pytest.raises(TooManyWaitersError, match="1 callers wait"):
                await pool.fetchval("select 2")
        assert await waiter == 1


async def test_a_slow_statement_ends_at_its_deadline_and_leaves_a_clean_connection(open_pool, dsn):
    async with open_pool(max_connections=1) as pool:
        with pytest.raises(TimeoutError):
            await pool.execute_query("select pg_sleep(60)", timeout=0.1)
        assert await pool.fetchval("select 1") == 1
        assert await sessions(dsn) == ["idle"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("busy", [False, True])
async def test_cancelling_at_any_await_leaks_nothing(open_pool, dsn, late, busy):
    async with open_pool(max_connections=1) as pool:
        await pool.execute("create table t (a int)")
        await pool.reload_schema()

        async def use():
            if busy:
                # Another caller has the only connection at first.
                holder = await pool.acquire()
                asyncio.get_running_loop().call_later(
                    0.005, lambda: tasks.append(asyncio.ensure_future(pool.release(holder)))
                )
            await pool.execute_query("select $1::int", 1)
            async with pool.acquire() as connection:
                async with connection.transaction():
                    await connection.execute("insert into t values (1)")
                    await connection.fetch("select * from t")
                await connection.execute("set work_mem = '1MB'")
            await pool.execute_query("select * from t", use_cache=True)
            await pool.execute("insert into t select 1")

        tasks = []

        async def check(n):
            await asyncio.gather(*tasks)
            await until(lambda: node(pool).in_use == 0 and not node(pool)._tasks)
            assert node(pool).waiting == 0, n
            assert node(pool).size <= 1, n
            assert await pool.fetchval("select 1") == 1
            assert await sessions(dsn) == ["idle"], n
            rows = await pool.execute_query("select count(*) from t", use_cache=True)
            assert rows == await pool.execute_query("select count(*) from t"), n

        places = await cancel_everywhere(use, late=late, check=check)
        assert places > 8


async def test_cancelling_while_connecting_leaks_nothing(open_pool, dsn):
    async with open_pool(min_connections=0, max_connections=2) as pool:

        async def use():
            await pool.expire_connections()
            return await pool.fetchval("select 1")

        async def check(n):
            await until(lambda: not node(pool)._tasks and node(pool).in_use == 0)
            seen = []

            async def as_many_as_known():
                seen[:] = await sessions(dsn)
                return len(seen) == node(pool).size

            await until(as_many_as_known)
            assert node(pool).size <= 2, n

        assert await cancel_everywhere(use, late=False, check=check) >= 2


async def test_it_grows_while_callers_wait_and_shrinks_to_the_minimum(open_pool):
    async with open_pool(max_connections=6, min_connections=2) as pool:
        leases = [pool.acquire() for _ in range(6)]
        connections = await asyncio.gather(*leases)
        assert pool.get_size() == 6
        for connection in connections:
            await pool.release(connection)
        sizing = node(pool)._sizing
        start = asyncio.get_running_loop().time()
        for second in range(200):
            sample = node(pool).sample()
            sizing.decide(type(sample)(start + second, sample.size, 0, 0, 0.0, sample.finished))
        assert node(pool).target == 2
        await until(lambda: pool.get_size() == 2)


async def test_the_minimum_is_kept_when_connections_die(open_pool, dsn):
    async with open_pool(min_connections=2) as pool:
        await kill_all(dsn)
        await until(lambda: pool.get_size() == 2 and node(pool).counts.opened >= 4)
        assert await pool.fetchval("select 1") == 1


async def kill_all(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def test_a_read_survives_the_death_of_its_connection(open_pool, dsn):
    async with open_pool(min_connections=3) as pool:
        await pool.reload_schema()
        await until(lambda: pool.get_idle_size() == 3)
        await kill_all(dsn)
        assert await pool.fetchval("select 1") == 1


async def test_connections_expire_at_different_times(open_pool):
    async with open_pool(min_connections=3, max_lifetime=1000.0) as pool:
        ends = {slot.expires for slot in node(pool)._slots}
        assert len(ends) == 3
        now = asyncio.get_running_loop().time()
        assert all(890 < end - now <= 1000 for end in ends)


async def test_an_old_connection_is_replaced(open_pool):
    async with open_pool(max_connections=1, max_queries=2) as pool:
        pids = [await pool.fetchval("select pg_backend_pid()") for _ in range(6)]
        assert len(set(pids)) >= 3
        before = await pool.fetchval("select pg_backend_pid()")
        await pool.expire_connections()
        assert await pool.fetchval("select pg_backend_pid()") != before


async def test_an_idle_connection_is_checked_before_it_is_used(open_pool):
    async with open_pool(max_connections=1, check_idle_after=1e-9) as pool:
        checks = node(pool).counts.checks
        assert await pool.fetchval("select 1") == 1
        assert node(pool).counts.checks == checks + 1


async def test_a_connection_that_is_held_for_long_is_reported_with_its_line(open_pool, caplog):
    async with open_pool(leak_threshold=0.01) as pool:
        connection = await pool.acquire()
        with caplog.at_level(logging.WARNING, "overdrive.database.optimized_db"):
            await until(lambda: node(pool).counts.leaks == 1)
        assert f"{os.path.basename(__file__)}:" in caplog.text  # noqa: PTH119
        assert "test_a_connection_that_is_held" in caplog.text
        assert "test_pool.py" in pool.get_statistics()["pool_stats"]["leaked_at"][0]
        await pool.release(connection)


async def test_closing_waits_for_the_last_lease(open_pool, dsn):
    pool = await open_pool()
    connection = await pool.acquire()
    closing = asyncio.ensure_future(pool.close())
    await until(pool.is_closing)
    with pytest.raises(PoolClosedError):
        await pool.fetchval("select 1")
    assert await connection.fetchval("select 1") == 1
    assert not closing.done()
    await pool.release(connection)
    await closing
    await pool.close()
    assert await sessions(dsn) == []


async def test_terminating_ends_what_runs(open_pool):
    pool = await open_pool(max_connections=1)
    running = asyncio.ensure_future(pool.fetchval("select pg_sleep(60)"))
    await until(lambda: node(pool).in_use == 1)
    waiting = asyncio.ensure_future(pool.fetchval("select 1"))
    await until(lambda: node(pool).waiting == 1)
    pool.terminate()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(result, Exception) for result in results)
    await until(lambda: not node(pool)._tasks)
    gc.collect()


def test_another_event_loop_is_refused(open_pool):
    async def first():
        pool = await open_pool()
        await pool.close()
        return pool

    pool = asyncio.run(first())

    async def second():
        with pytest.raises(PoolMisuseError, match="another event loop"):
            await pool.fetchval("select 1")

    asyncio.run(second())


async def test_a_pool_that_is_not_open_says_so(open_pool):
    with pytest.raises(PoolMisuseError, match="not open"):
        await open_pool().fetchval("select 1")


async def test_a_connection_of_another_pool_is_refused(open_pool, dsn):
    async with open_pool() as one, open_pool() as other, one.acquire() as connection:
        with pytest.raises(PoolMisuseError, match="not a connection of this pool"):
            await other.release(connection)
    plain = await asyncpg.connect(dsn)
    with pytest.raises(PoolMisuseError):
        await one.release(plain)
    await plain.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_connections": 0}, "max_connections must be positive, got 0"),
        ({"min_connections": 5, "max_connections": 4}, "min_connections must be at most"),
        ({"acquire_timeout": float("nan")}, "acquire_timeout must be positive"),
        ({"query_cache_size": -1}, "query_cache_size must not be negative"),
        ({"max_waiting": -1}, "max_waiting must be positive or None"),
        ({"read_consistency": "often"}, "read_consistency must be"),
        ({"read_replica_urls": "postgres://x"}, "must be a sequence"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        DatabaseConfig(**options)


async def test_statistics_have_the_names_of_the_guide(open_pool, caplog):
    async with open_pool(slow_query_threshold=0.02) as pool:
        for number in range(3):
            await pool.execute_query(f"select {number}, 'secret', $1::int", 5)
        with caplog.at_level(logging.WARNING, "overdrive.database.optimized_db"):
            await pool.execute_query("select pg_sleep(0.03), 'secret' -- comment")
        with pytest.raises(asyncpg.UndefinedTableError):
            await pool.execute_query("select * from missing")
        stats = pool.get_statistics()
    assert {
        "query_stats",
        "slow_queries",
        "pool_stats",
        "cache_stats",
        "health",
        "replicas",
        "top_queries",
    } == (set(stats))
    assert stats["query_stats"]["slow_queries"] == stats["slow_queries"] == 1
    assert stats["query_stats"]["errors"] == 1
    assert stats["query_stats"]["total_queries"] == 4
    assert stats["query_stats"]["p50_ms"] <= stats["query_stats"]["p99_ms"]
    assert "select pg_sleep(?), ?" in caplog.text
    assert "secret" not in caplog.text
    top = {entry["query"]: entry["calls"] for entry in stats["top_queries"]}
    assert top["select ?, ?, $1::int"] == 3
    assert "secret" not in str(stats)


async def test_a_password_is_shown_nowhere(dsn, caplog):
    secret = "s3cr3t@x"  # noqa: S105 - shown nowhere
    address = f"postgresql://somebody:{secret}@127.0.0.1:1/none"
    config = DatabaseConfig(database_url=address, read_replica_urls=[address])
    pool = OptimizedConnectionPool(config)
    with caplog.at_level(logging.DEBUG), pytest.raises((OSError, OverdriveError)) as caught:
        await pool.initialize()
    shown = f"{config!r} {pool!r} {caught.value!r} {caught.value} {pool.get_statistics()}"
    assert secret not in shown + caplog.text
    assert "somebody" in repr(config)
    other = create_pool(dsn, password=secret, min_size=1)
    assert secret not in f"{other!r} {other._driver!r} {other.config!r}"


async def test_a_random_load_ends_with_everything_in_its_place(open_pool, dsn):
    rng = random.Random(7)
    async with open_pool(max_connections=3) as pool:
        await pool.execute("create table t (a int)")

        async def client():
            for _ in range(15):
                choice = rng.randrange(5)
                with contextlib.suppress(TimeoutError, asyncpg.PostgresError):
                    if choice == 0:
                        await pool.execute_query("select pg_sleep($1)", 0.01, timeout=0.005)
                    elif choice == 1:
                        await pool.execute("insert into t values ($1)", 1)
                    elif choice == 2:
                        await pool.execute_query("select 1 / 0")
                    elif choice == 3:
                        async with pool.acquire() as connection:
                            await connection.execute("set work_mem = '1MB'")
                    else:
                        await pool.fetch("select * from t")

        await asyncio.gather(*(client() for _ in range(12)))
        await until(lambda: not node(pool)._tasks)
        assert (node(pool).in_use, node(pool).waiting) == (0, 0)
        assert node(pool).size == pool.get_idle_size() <= 3
        assert set(await sessions(dsn)) <= {"idle"}
