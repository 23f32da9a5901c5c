"""Changes by others: other programs, other pools, replication, and lines that break."""

import asyncio

import asyncpg
import pytest
from driving import until

Q = "select v from a where id = 1"


@pytest.fixture
def tables(dsn):
    asyncio.run(elsewhere(dsn, """
        create table "A b" (v text);
        insert into "A b" values ('old');
        create table a (id int primary key, v text);
        create table b (id int references a on delete cascade);
        insert into a values (1, 'old'), (2, 'old');
        insert into b values (2);
        create table parts (id int) partition by range (id);
        create table part_1 partition of parts for values from (0) to (100);
        create view seen as select v from a where id = 1;
    """))  # fmt: skip


async def elsewhere(dsn, query):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(query)
    finally:
        await connection.close()


async def ask(pool, query=Q):
    rows = await pool.execute_query(query, use_cache=True)
    return [tuple(row) for row in rows]


async def is_kept(pool, query=Q):
    await ask(pool, query)
    hits = pool._cache.counts.hits
    await ask(pool, query)
    return pool._cache.counts.hits == hits + 1


async def sees(pool, query, rows):
    """Wait until the cache gives these rows, which must be soon."""

    async def seen():
        return await ask(pool, query) == rows

    await until(seen, seconds=pool._changes.delay)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("query", "change", "rows"),
    [
        (Q, "update a set v = 'new'", [("new",)]),
        (Q, "begin; update a set v = 'no'; rollback; update a set v = 'new'", [("new",)]),
        ("select v from seen", "update a set v = 'new'", [("new",)]),
        ("select * from b", "delete from a where id = 2", []),
        ("select * from parts", "insert into part_1 values (1)", [(1,)]),
        ("select * from part_1", "insert into parts values (1)", [(1,)]),
        ("select v from a", "truncate a cascade", []),
        ('select * from "A b"', "update \"A b\" set v = 'new'", [("new",)]),
        (Q, "set session_replication_role = replica; update a set v = 'new'", [("new",)]),
        (
            Q,
            "alter table a drop column v cascade; alter table a add v text default 'new'",
            [("new",)],
        ),
        ("select v from seen", "create or replace view seen as select 'new' as v", [("new",)]),
    ],
)
async def test_a_change_by_another_program_is_seen(open_pool, dsn, query, change, rows):
    async with open_pool(track_changes=True) as pool:
        assert await is_kept(pool, query)
        await elsewhere(dsn, change)
        await sees(pool, query, rows)


@pytest.mark.usefixtures("tables")
async def test_two_pools_see_each_other(open_pool):
    async with open_pool(track_changes=True) as one, open_pool(track_changes=True) as other:
        for pool in (one, other):
            await until(lambda p=pool: not p._knowledge.analyst.stale)
            await is_kept(pool)
        await one.execute("update a set v = 'new'")
        await sees(other, Q, [("new",)])

        async def kept():
            return await is_kept(other)

        await until(kept)


@pytest.mark.usefixtures("tables")
async def test_a_table_that_is_made_anew_is_tracked_anew(open_pool, dsn):
    async with open_pool(track_changes=True) as pool:
        assert await is_kept(pool)
        await elsewhere(
            dsn, "drop table a cascade; create table a as select 1 as id, 'second' as v"
        )
        await sees(pool, Q, [("second",)])
        await until(lambda: not pool._knowledge.analyst.stale)
        assert await is_kept(pool)
        await elsewhere(dsn, "update a set v = 'third'")
        await sees(pool, Q, [("third",)])


@pytest.mark.usefixtures("tables")
async def test_when_the_listener_is_lost_nothing_kept_is_used(open_pool, dsn):
    async with open_pool(track_changes=True) as pool:
        assert await is_kept(pool)
        await pool._knowledge.reload()
        pid = pool._changes._pid
        await elsewhere(
            dsn,
            f"begin; update a set v = 'new'; select pg_terminate_backend({pid});"  # noqa: S608
            f" select pg_sleep(0.05); commit",
        )
        await until(lambda: pool._changes.losses == 1)
        assert await ask(pool) == [("new",)]
        await until(lambda: pool._cache.open)
        assert await is_kept(pool)
        await elsewhere(dsn, "update a set v = 'newer'")
        await sees(pool, Q, [("newer",)])


@pytest.mark.usefixtures("tables")
async def test_a_line_that_is_silently_dead_is_found(open_pool, monkeypatch):
    async with open_pool(track_changes=True) as pool:
        assert await is_kept(pool)

        async def never(*_args, **_options):
            await asyncio.Event().wait()

        monkeypatch.setattr(pool._changes._connection, "fetchval", never, raising=False)
        await until(lambda: pool._changes.losses == 1, seconds=pool._changes.delay + 5)
        await until(lambda: pool._cache.open)


@pytest.mark.usefixtures("tables")
async def test_without_the_right_to_make_triggers_nothing_is_kept(open_pool, dsn):
    await elsewhere(dsn, """
        drop role if exists weak; create role weak login;
        grant select on a to weak; grant create on schema public to weak;
    """)  # fmt: skip
    try:
        weak = dsn.replace("postgres@", "weak@")
        async with open_pool(database_url=weak, track_changes=True) as pool:
            assert not await is_kept(pool)
            assert await ask(pool) == [("old",)]
    finally:
        await elsewhere(dsn, "drop owned by weak cascade; drop role weak")
