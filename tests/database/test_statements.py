import asyncio

import asyncpg
import pytest

from overdrive.database import PartialWriteError, UnknownStatementError


@pytest.fixture
def tables(dsn):
    async def run():
        connection = await asyncpg.connect(dsn)
        await connection.execute("""
            create table t (a int primary key check (a <> 13), "B b" text);
            create table always (a int generated always as identity, b int);
            create table secret (a int);
            alter table secret enable row level security;
            create table ruled (a int);
            create rule r as on insert to ruled do also insert into t values (new.a);
            create view seen as select * from t;
        """)
        await connection.close()

    asyncio.run(run())


@pytest.mark.usefixtures("tables")
async def test_a_handle_works_on_every_connection(open_pool):
    async with open_pool() as pool:
        handle = await pool.prepare_statement("select $1::int + 1, pg_backend_pid()")
        async with pool.acquire(), pool.acquire():
            one = (await pool.execute_prepared(handle, 1))[0]
        async with pool.acquire():
            two = (await pool.execute_prepared(handle, 2))[0]
        assert (one[0], two[0]) == (2, 3)
        assert one[1] != two[1]


@pytest.mark.usefixtures("tables")
async def test_a_handle_survives_new_connections(open_pool):
    async with open_pool() as pool:
        handle = await pool.prepare_statement("select $1::int")
        await pool.expire_connections()
        assert await pool.execute_prepared(handle, 1) == [(1,)]


@pytest.mark.usefixtures("tables")
async def test_a_handle_survives_a_change_of_the_table_by_anyone(open_pool, dsn):
    async with open_pool(max_connections=1) as pool:
        handle = await pool.prepare_statement("select * from t")
        await pool.execute("insert into t values (1)")
        assert len((await pool.execute_prepared(handle))[0]) == 2
        await pool.execute("alter table t add c int")
        assert len((await pool.execute_prepared(handle))[0]) == 3
        other = await asyncpg.connect(dsn)
        await other.execute("alter table t add d int")
        await other.close()
        assert len((await pool.execute_prepared(handle))[0]) == 4


@pytest.mark.usefixtures("tables")
async def test_inside_a_transaction_an_outdated_statement_is_an_error_once(open_pool, dsn):
    async with open_pool(max_connections=1) as pool, pool.acquire() as connection:
        await connection.fetch("select * from t")
        other = await asyncpg.connect(dsn)
        await other.execute("alter table t add c int")
        await other.close()
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            async with connection.transaction():
                await connection.fetch("select * from t")
        await connection.fetch("select * from t")


async def test_a_statement_that_is_wrong_is_refused_when_it_is_prepared(open_pool):
    async with open_pool() as pool:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await pool.prepare_statement("selec 1")
        with pytest.raises(UnknownStatementError, match="no statement was prepared as 'x'"):
            await pool.execute_prepared("x")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("use_copy", [None, False, True])
async def test_many_rows_are_written_in_batches(open_pool, use_copy):
    async with open_pool() as pool:
        rows = ((n, f"v{n}") for n in range(1000, 3501))
        query = "insert into t values ($1, $2)"
        assert await pool.execute_many(query, rows, batch_size=1000, use_copy=use_copy) == 2501
        assert await pool.fetchrow('select count(*), min("B b"), max(a) from t') == (
            2501, "v1000", 3500,
        )  # fmt: skip


@pytest.mark.usefixtures("tables")
async def test_rows_may_come_from_an_asynchronous_source(open_pool):
    async def source():
        for n in range(10):
            yield (n,)

    async with open_pool() as pool:
        assert await pool.execute_many("insert into t (a) values ($1)", source()) == 10


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("query", "width", "copies"),
    [
        ('insert into t (a, "B b") values ($1, $2)', 2, True),
        ("insert into public.t values ($1, $2)", 2, True),
        ("INSERT INTO T VALUES ($1,$2);", 2, True),
        ("insert into t (a) values ($1)", 1, True),
        ("insert into t values ($1, $2) on conflict do nothing", 2, False),
        ("insert into t values ($1, $2) returning a", 2, False),
        ("insert into t values ($1, upper($2))", 2, False),
        ('insert into t ("B b", a) values ($2, $1)', 2, False),
        ("insert into t values ($1, $1::int::text)", 1, False),
        ("insert into seen values ($1, $2)", 2, False),
        ("insert into secret values ($1)", 1, False),
        ("insert into ruled values ($1)", 1, False),
        ("insert into always (b) values ($1)", 1, False),
        ('update t set "B b" = $2 where a = $1', 2, False),
        ("insert into t values ($1, $2), ($1, $2)", 2, False),
    ],
)
async def test_copy_is_used_only_where_it_does_the_same(open_pool, query, width, copies):
    async with open_pool() as pool:
        rows = [(n, str(n))[:width] for n in range(3)]
        if not copies:
            with pytest.raises(ValueError, match="COPY cannot do"):
                await pool.execute_many(query, rows, use_copy=True)
            return
        assert await pool.execute_many(query, rows, use_copy=True) == 3
        assert await pool.fetchval("select array_agg(a order by a) from t") == [0, 1, 2]


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("use_copy", [False, True])
async def test_a_failure_says_what_was_written(open_pool, use_copy):
    async with open_pool() as pool:
        query = "insert into t (a) values ($1)"
        with pytest.raises(PartialWriteError, match="10 rows are written, 0 after") as caught:
            await pool.execute_many(
                query, [(n,) for n in range(20)], batch_size=5, use_copy=use_copy
            )
        assert (caught.value.written, caught.value.in_doubt) == (10, 0)
        assert isinstance(caught.value.__cause__, asyncpg.CheckViolationError)
        assert await pool.fetchval("select count(*) from t") == 10
        with pytest.raises(asyncpg.UniqueViolationError):
            await pool.execute_many(query, [(1,)])


@pytest.mark.usefixtures("tables")
async def test_a_lost_answer_is_told_from_a_refusal(open_pool, dsn):
    async with open_pool() as pool:

        async def source():
            for n in range(4):
                if n == 2:
                    other = await asyncpg.connect(dsn)
                    await other.fetch(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where query like 'insert into t%' and pid <> pg_backend_pid()"
                        " and datname = current_database()"
                    )
                    await other.close()
                yield (n,)

        with pytest.raises(PartialWriteError) as caught:
            await pool.execute_many("insert into t (a) values ($1)", source(), batch_size=2)
        assert (caught.value.written, caught.value.in_doubt) == (2, 2)
        assert await pool.fetchval("select count(*) from t") == 2


@pytest.mark.usefixtures("tables")
async def test_many_rows_drop_what_was_kept(open_pool):
    async with open_pool() as pool:
        count = "select count(*) from t"
        for start in (0, 500):
            before = await pool.execute_query(count, use_cache=True)
            rows = [(n,) for n in range(start + 20, start + 520 if start else 500)]
            await pool.execute_many("insert into t (a) values ($1)", rows)
            after = await pool.execute_query(count, use_cache=True)
            assert after[0][0] == before[0][0] + len(rows)


@pytest.mark.usefixtures("tables")
async def test_read_only_means_that_the_server_refuses_a_change(open_pool):
    async with open_pool() as pool:
        assert await pool.execute_query("select 1", read_only=True) == [(1,)]
        assert await pool.execute_query("select random() < 2", read_only=True) == [(True,)]
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await pool.execute_query("insert into t values (1)", read_only=True)
        assert await pool.fetchval("select count(*) from t") == 0
