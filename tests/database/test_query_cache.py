import asyncio
import datetime as dt
import decimal

import asyncpg
import pytest
from driving import until

from overdrive.database import create_pool
from overdrive.database._keys import key_of, names_a_time
from overdrive.database.query_cache import QueryCache


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def make(size=10, ttl=60.0, max_rows=100):
    clock = Clock()
    return QueryCache(size, ttl, max_rows=max_rows, clock=clock), clock


T = frozenset({1})


def answer(*rows):
    async def load():
        return list(rows), True

    return load


# Without a server


async def test_a_result_is_kept_until_it_is_too_old():
    cache, clock = make(ttl=5.0)
    assert await cache.load("k", T, answer(1)) == [1]
    assert cache.get("k") == [1]
    clock.now = 4.9
    assert cache.get("k") == [1]
    clock.now = 5.0
    assert cache.get("k") is None
    assert cache.counts.expired == 1


async def test_a_query_may_have_its_own_time():
    cache, clock = make(ttl=5.0)
    await cache.load("k", T, answer(1), ttl=1.0)
    clock.now = 1.0
    assert cache.get("k") is None


async def test_the_oldest_unused_result_gives_way():
    cache, _ = make(size=2)
    for key in "ab":
        await cache.load(key, T, answer(key))
    cache.get("a")
    await cache.load("c", T, answer("c"))
    assert [cache.get(key) for key in "abc"] == [["a"], None, ["c"]]


async def test_a_change_drops_what_depends_on_it_and_nothing_else():
    cache, _ = make()
    await cache.load("a", frozenset({1, 2}), answer(1))
    await cache.load("b", frozenset({3}), answer(2))
    cache.invalidate(frozenset({2, 9}))
    assert (cache.get("a"), cache.get("b")) == (None, [2])
    cache.invalidate(None)
    assert cache.get("b") is None
    assert not cache._by_table


async def test_a_read_that_began_before_a_change_is_not_kept_after_it():
    cache, _ = make()
    for change in (T, None):
        go = asyncio.Event()

        async def load(go=go):
            await go.wait()
            return ["old"], True

        reading = asyncio.ensure_future(cache.load("k", T, load))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cache.invalidate(change)
        go.set()
        assert await reading == ["old"]
        assert cache.get("k") is None


async def test_a_read_that_begins_after_a_change_does_not_join_one_from_before():
    cache, _ = make()
    go, results = asyncio.Event(), iter(["old", "new"])

    async def load():
        row = next(results)
        await go.wait()
        return [row], True

    before = asyncio.ensure_future(cache.load("k", T, load))
    await asyncio.sleep(0.001)
    cache.invalidate(T)
    after = asyncio.ensure_future(cache.load("k", T, load))
    await asyncio.sleep(0.001)
    go.set()
    assert (await before, await after) == (["old"], ["new"])
    assert cache.get("k") == ["new"]


async def test_a_change_of_one_row_leaves_the_others():
    cache, _ = make()
    await cache.load("one", T, answer(1), row=(1, 1))
    await cache.load("two", T, answer(2), row=(1, 2))
    await cache.load("all", T, answer(3))
    cache.invalidate_row((1, 1))
    assert [cache.get(key) for key in ("one", "two", "all")] == [None, [2], None]
    cache.invalidate(T)
    assert cache.get("two") is None
    assert not cache._by_row
    assert not cache._by_table
    assert not cache._whole


@pytest.mark.parametrize(("change", "kept"), [((1, 1), False), ((1, 2), True), (None, False)])
async def test_a_read_of_a_row_from_before_its_change_is_not_kept(change, kept):
    cache, _ = make()
    go = asyncio.Event()

    async def load():
        await go.wait()
        return ["old"], True

    reading = asyncio.ensure_future(cache.load("k", T, load, row=(1, 1)))
    await asyncio.sleep(0.001)
    if change is None:
        cache.invalidate(T)
    else:
        cache.invalidate_row(change)
    go.set()
    await reading
    assert (cache.get("k") is not None) == kept


async def test_nothing_is_kept_while_a_change_is_in_doubt():
    cache, _ = make()
    cache.doubt(T)
    await cache.load("k", T, answer(1))
    assert cache.get("k") is None
    await cache.load("other", frozenset({2}), answer(1))
    assert cache.get("other") == [1]
    cache.settle(T)
    await cache.load("k", T, answer(1))
    assert cache.get("k") == [1]
    cache.doubt(None)
    await cache.load("other", frozenset({2}), answer(1))
    assert cache.get("other") is None


async def test_a_read_during_a_doubt_is_not_kept_after_it():
    cache, _ = make()
    go = asyncio.Event()

    async def load():
        await go.wait()
        return ["old"], True

    cache.doubt(T)
    reading = asyncio.ensure_future(cache.load("k", T, load))
    await asyncio.sleep(0.001)
    cache.settle(T)
    go.set()
    await reading
    assert cache.get("k") is None


async def test_identical_queries_at_the_same_time_run_once():
    cache, _ = make()
    runs = []

    async def load():
        runs.append(1)
        await asyncio.sleep(0)
        return [1], True

    answers = await asyncio.gather(*(cache.load("k", T, load) for _ in range(1000)))
    assert answers == [[1]] * 1000
    assert len(runs) == 1
    assert cache.counts.joined == 999


async def test_one_waiter_that_is_cancelled_does_not_cancel_the_query():
    cache, _ = make()
    go, ended = asyncio.Event(), []

    async def load():
        try:
            await go.wait()
        finally:
            ended.append(1)
        return [1], True

    tasks = [asyncio.ensure_future(cache.load("k", T, load)) for _ in range(3)]
    await asyncio.sleep(0.001)
    tasks[0].cancel()
    await asyncio.sleep(0.001)
    assert not ended
    go.set()
    assert await tasks[1] == await tasks[2] == [1]
    assert cache.get("k") == [1]


async def test_the_last_waiter_that_is_cancelled_cancels_the_query():
    cache, _ = make()
    ended = []

    async def load():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    tasks = [asyncio.ensure_future(cache.load("k", T, load)) for _ in range(3)]
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: ended)
    assert not cache._flights
    assert await cache.load("k", T, answer(2)) == [2]


async def test_an_error_reaches_everyone_and_is_not_kept():
    cache, _ = make()

    async def load():
        await asyncio.sleep(0)
        raise KeyError(1)

    results = await asyncio.gather(
        *(cache.load("k", T, load) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, KeyError) for result in results)
    assert await cache.load("k", T, answer(1)) == [1]


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1, [2]), object(), bytearray(b"x")])
async def test_a_value_that_a_caller_could_change_is_not_shared(value):
    cache, _ = make()
    await cache.load("k", T, answer((value,)))
    assert cache.get("k") is None


async def test_a_caller_gets_a_list_of_its_own():
    cache, _ = make()
    for rows in [await cache.load("k", T, answer(1)), cache.get("k"), cache.get("k")]:
        assert rows == [1]
        rows.clear()


async def test_a_large_result_is_not_kept():
    cache, _ = make(max_rows=2)
    await cache.load("k", T, answer(1, 2, 3))
    assert cache.get("k") is None


def test_arguments_that_are_equal_but_not_the_same_are_told_apart():
    zone = dt.timezone(dt.timedelta(hours=1))
    values = [
        1, 1.0, True, decimal.Decimal(1), decimal.Decimal("1.00"), "1", b"1", 0.0, -0.0, None,
        [1], (1,), [1.0], [True], dt.date(2020, 1, 1), dt.datetime(2020, 1, 1),  # noqa: DTZ001 - one without
        dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC),
        dt.datetime(2020, 1, 1, 13, tzinfo=zone),
    ]  # fmt: skip
    keys = [key_of("q", (value,)) for value in values]
    assert None not in keys
    assert len(set(keys)) == len(values)
    assert key_of("q", (object(),)) is None
    assert key_of("q", ([object()],)) is None
    assert key_of("q", ({"a": 1},)) is None


def test_a_text_that_means_the_present_is_noticed():
    assert names_a_time(("x", " Now "))
    assert names_a_time((["tomorrow"],))
    assert not names_a_time(("nowhere", 1, "yesterday's"[1:]))


# With a server


@pytest.fixture
def tables(dsn):
    async def run():
        connection = await asyncpg.connect(dsn)
        await connection.execute("""
            create table a (id int primary key, v text);
            create table b (id int primary key, a_id int references a on delete cascade);
            insert into a values (1, 'old');
            insert into b values (1, 1);
            create table secret (id int);
            alter table secret enable row level security;
            create view a_view as select * from a;
            create table parts (id int) partition by range (id);
            create table part_1 partition of parts for values from (0) to (100);
            create type mood as enum ('good');
            create table typed (ids int[], data jsonb, at timestamptz, m mood, n numeric);
            insert into typed values ('{1}', '{"a": 1}', now(), 'good', 1.50);
        """)
        await connection.close()

    asyncio.run(run())


Q = "select v from a where id = $1"


async def ask(pool, query=Q, *args):
    return await pool.execute_query(query, *(args or (1,)) if query == Q else args, use_cache=True)


async def is_kept(pool, query, *args):
    await pool.execute_query(query, *args, use_cache=True)
    hits = pool.get_statistics()["cache_stats"]["hits"]
    await pool.execute_query(query, *args, use_cache=True)
    return pool.get_statistics()["cache_stats"]["hits"] == hits + 1


@pytest.mark.usefixtures("tables")
async def test_the_second_time_the_server_is_not_asked(open_pool):
    async with open_pool() as pool:
        assert await is_kept(pool, Q, 1)
        assert await is_kept(pool, "select * from a_view")
        assert await is_kept(pool, "select at, n, m from typed")
        assert not await is_kept(pool, "select ids from typed")
        assert not await is_kept(pool, "select v, now() from a")
        assert not await is_kept(pool, "select * from a where v = $1", "now")
        assert not await is_kept(pool, "select * from secret")


WRITES = {
    "one statement": lambda p: p.execute("update a set v = 'new'"),
    "execute_query": lambda p: p.execute_query("update a set v = $1 returning v", "new"),
    "a query that writes": lambda p: p.fetch(
        "with u as (update a set v = 'new' returning 1) select * from u"
    ),
    "executemany": lambda p: p.executemany("update a set v = $1", [("new",)]),
    "execute_many": lambda p: p.execute_many("update a set v = $1", [("new",)]),
    "several statements": lambda p: p.execute("begin; update a set v = 'new'; commit"),
    "a view": lambda p: p.execute("update a_view set v = 'new'"),
    "do": lambda p: p.execute("do $$ begin update a set v = 'new'; end $$"),
}


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("way", WRITES)
async def test_after_a_change_nobody_sees_the_old_rows(open_pool, way):
    async with open_pool() as pool:
        assert await ask(pool) == [("old",)]
        await WRITES[way](pool)
        assert await ask(pool) == [("new",)]
        assert await ask(pool, "select v from a_view") == [("new",)]


async def transaction(connection):
    async with connection.transaction():
        await connection.execute("update a set v = 'new'")


async def savepoints(connection):
    async with connection.transaction():
        await connection.execute("update a set v = 'new'")
        try:
            async with connection.transaction():
                await connection.execute("insert into b values (7)")
                raise KeyError  # noqa: TRY301 - undoes the inner one
        except KeyError:
            pass


async def by_hand(connection):
    await connection.execute("begin")
    await connection.execute("update a set v = 'new'")
    await connection.execute("commit")


async def chained(connection):
    await connection.execute("begin")
    await connection.execute("update a set v = 'new'")
    await connection.execute("commit and chain")


async def prepared(connection):
    statement = await connection.prepare("update a set v = $1")
    await statement.fetch("new")


async def prepared_twice(connection):
    statement = await connection.prepare("update a set v = $1")
    await statement.fetch("old")
    await statement.executemany([("new",)])


async def cursor(connection):
    async with connection.transaction():
        async for _ in connection.cursor("select 1"):
            await connection.execute("update a set v = 'new'")


async def copied(connection):
    async with connection.transaction():
        await connection.execute("delete from a")
        await connection.copy_records_to_table("a", records=[(1, "new")])


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    "work",
    [transaction, savepoints, by_hand, chained, prepared, prepared_twice, cursor, copied],
)
async def test_after_a_commit_on_a_connection_nobody_sees_the_old_rows(open_pool, work):
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with open_pool() as pool:
        async with pool.acquire() as connection:
            await ask(pool)
            await work(connection)
            assert await ask(pool) == [("new",)]
        assert await ask(pool) == [("new",)]


@pytest.mark.usefixtures("tables")
async def test_what_is_not_committed_is_neither_seen_nor_kept(open_pool):
    async with open_pool() as pool:
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("update a set v = 'mine'")
            assert await connection.fetchval(Q, 1) == "mine"
            assert await ask(pool) == [("old",)]
            await transaction.rollback()
        assert await ask(pool) == [("old",)]
        assert await is_kept(pool, Q, 1)


@pytest.mark.usefixtures("tables")
async def test_a_rollback_drops_nothing(open_pool):
    async with open_pool() as pool:
        await ask(pool)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("update a set v = 'mine'")
            await transaction.rollback()
        hits = pool.get_statistics()["cache_stats"]["hits"]
        await ask(pool)
        assert pool.get_statistics()["cache_stats"]["hits"] == hits + 1


@pytest.mark.usefixtures("tables")
async def test_cascades_and_partitions_are_followed(open_pool):
    async with open_pool() as pool:
        count = "select count(*) from b"
        assert await ask(pool, count) == [(1,)]
        await pool.execute("delete from a")
        assert await ask(pool, count) == [(0,)]
        for table in ("part_1", "parts"):
            before = await ask(pool, "select count(*) from parts")
            await pool.execute(f"insert into {table} values (1)")  # noqa: S608 - two constants
            assert await ask(pool, "select count(*) from parts") == [(before[0][0] + 1,)]
            assert await ask(pool, "select count(*) from part_1") == [(before[0][0] + 1,)]
        await pool.execute("truncate parts")
        assert await ask(pool, "select count(*) from part_1") == [(0,)]


@pytest.mark.usefixtures("tables")
async def test_a_change_of_the_schema_is_seen(open_pool):
    async with open_pool() as pool:
        assert len((await ask(pool, "select * from a"))[0]) == 2
        await pool.execute("alter table a add w int default 5")
        assert len((await ask(pool, "select * from a"))[0]) == 3
        await pool.execute("create or replace view a_view as select id, 'fixed' as v from a")
        assert await ask(pool, "select v from a_view") == [("fixed",)]
        await pool.reload_schema()
        assert await is_kept(pool, "select * from a")
        await pool.execute("""
            create function act() returns trigger language plpgsql as
            $$ begin delete from a; return null; end $$;
            create trigger act after insert on parts for each statement execute function act();
        """)
        assert await ask(pool, "select count(*) from a") == [(1,)]
        await pool.execute("insert into parts values (1)")
        assert await ask(pool, "select count(*) from a") == [(0,)]


@pytest.mark.usefixtures("tables")
async def test_a_temporary_table_of_the_same_name_is_not_shown_to_others(open_pool):
    async with open_pool(max_connections=1) as pool:
        await pool.execute("create temp table a (id int, v text); insert into a values (1, 'temp')")
        await pool.reload_schema()
        assert await ask(pool) == [("temp",)]
        assert not await is_kept(pool, Q, 1)


@pytest.mark.usefixtures("tables")
async def test_a_change_by_primary_key_leaves_what_is_known_of_other_rows(open_pool):
    async with open_pool() as pool:
        await pool.execute("alter table b drop column a_id; insert into a values (2, 'two')")
        await pool.reload_schema()
        for statement, args in [
            ("update a set v = $2 where id = $1", (2, "x")),
            ("delete from a where id = $1 and v <> $2", (2, "y")),
            ("insert into a values ($1, $2)", (2, "z")),
        ]:
            await ask(pool)
            await pool.execute_query(Q, 2, use_cache=True)
            count = await ask(pool, "select count(*) from a")
            hits = pool._cache.counts.hits
            await pool.execute(statement, *args)
            await ask(pool)
            assert pool._cache.counts.hits == hits + 1, statement
            for query in (Q, "select v from a where v > '' and $1 = id"):
                kept = await pool.execute_query(query, 2, use_cache=True)
                assert kept == await pool.fetch(query, 2)
            assert count is not None
            now = await ask(pool, "select count(*) from a")
            assert now == await pool.fetch("select count(*) from a")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    "statement",
    [
        "update a set id = 1, v = 'new' where id = $1",
        "update a set v = 'new' where id = $1 or true",
        "update a set v = 'new' where not id = $1",
        "update a set (id, v) = (1, 'new') where id = $1",
        "update a set v = 'new' from a b where b.id = $1",
        "update a set v = 'new' where id > $1 - 2 and v <> ''",
    ],
)
async def test_a_change_of_more_than_the_key_says_drops_everything(open_pool, statement):
    async with open_pool() as pool:
        await pool.execute("insert into a values (2, 'two'); alter table b drop column a_id")
        await pool.execute("delete from a where id = 1")
        await pool.execute("insert into a values (1, 'old')")
        await pool.reload_schema()
        assert await is_kept(pool, Q, 1)
        if "set id" in statement or "(id" in statement:
            await pool.execute("delete from a where id = 1")
            assert await ask(pool) == []
        await pool.execute(statement, 2)
        assert await ask(pool) == [("new",)]


@pytest.mark.usefixtures("tables")
async def test_the_search_path_decides_what_is_meant(open_pool):
    async with open_pool(server_settings={"search_path": "other, public"}) as pool:
        await pool.execute("create schema other; create table other.a as select 1 as id, 'o' as v")
        await pool.reload_schema()
        assert await ask(pool) == [("o",)]
        await pool.execute("update public.a set v = 'new'")
        assert await is_kept(pool, Q, 1)
        await pool.execute("update a set v = 'new'")
        assert await ask(pool) == [("new",)]


@pytest.mark.usefixtures("tables")
async def test_a_thousand_identical_queries_are_one(open_pool):
    async with open_pool() as pool:
        before = pool.get_statistics()["query_stats"]["executed_queries"]
        answers = await asyncio.gather(*(ask(pool) for _ in range(1000)))
        assert answers == [[("old",)]] * 1000
        assert pool.get_statistics()["query_stats"]["executed_queries"] == before + 1


@pytest.mark.usefixtures("tables")
async def test_connections_that_a_hook_prepares_share_no_results(dsn):
    async def setup(connection):
        await connection.execute("select set_config('app.user', 'x', false)")

    async with create_pool(dsn, min_size=1, max_size=2, setup=setup) as pool:
        assert not await is_kept(pool, Q, 1)


@pytest.mark.usefixtures("tables")
async def test_a_change_whose_end_nobody_saw_is_in_doubt_until_the_server_ended_it(open_pool, dsn):
    async with open_pool() as pool:
        other = await asyncpg.connect(dsn)
        await other.execute("begin; lock table a in share mode")
        writing = asyncio.ensure_future(pool.execute("update a set v = 'new'"))

        async def is_blocked():
            return await other.fetchval("select count(*) from pg_locks where not granted") == 1

        await until(is_blocked)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert pool._cache._doubts
        assert await ask(pool) == [("old",)]
        assert len(pool._cache) == 0
        await other.execute("commit")
        await until(lambda: not pool._cache._doubts)
        assert await ask(pool) == await pool.fetch(Q, 1)
        await other.close()
