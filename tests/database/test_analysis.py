import asyncio
import random

import asyncpg
import pytest

from overdrive.database import _lexer
from overdrive.database.analysis import EVERYTHING, Analyst
from overdrive.database.catalog import load

SCHEMA = """
    create table a (id int primary key, v text);
    create table b (id int primary key, a_id int references a on delete cascade, v text);
    create table logged (id int);
    create table log (id int);
    create function to_log() returns trigger language plpgsql as
        $$ begin insert into log values (new.id); return new; end $$;
    create trigger to_log after insert on logged for each row execute function to_log();
    create table secret (id int);
    alter table secret enable row level security;
    create table parts (id int, v text) partition by range (id);
    create table part_1 partition of parts for values from (0) to (100);
    create table parent (id int);
    create table child () inherits (parent);
    create view a_view as select * from a where v <> '';
    create view view_of_view as select id from a_view;
    create view a_clock as select now(), id from a;
    create view system_view as select relname from pg_class;
    create materialized view a_material as select * from a;
    create sequence s;
    create function pure(x int) returns int language sql immutable as 'select x + 1';
    create function look(x int) returns bigint language sql stable as 'select count(*) from a';
    create function act(x int) returns int language plpgsql as
        $$ begin delete from a; return 1; end $$;
    create function full_v(a) returns text language sql volatile as 'select $1.v';
    create schema other;
    create table other.a (id int);
"""


@pytest.fixture(scope="module")
def judge(postgres):
    """Says what is known about a text, with names instead of numbers."""

    async def run():
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute("create database analysis")
        await connection.close()
        connection = await asyncpg.connect(postgres.dsn.replace("/postgres?", "/analysis?"))
        try:
            await connection.execute(SCHEMA)
            return await load(connection, timeout=10)
        finally:
            await connection.close()

    analyst = Analyst(100)
    analyst.learn(asyncio.run(run()))
    relations = analyst.catalog.relations

    def names(oids):
        if oids is None:
            return None
        return {
            relations[o].name.name if relations[o].name.schema == "public" else "other.a"
            for o in oids
        }

    def look(text):
        verdict = analyst.look(text)
        return verdict, names(verdict.keeps), names(verdict.effects)

    return look


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("select * from b where id = $1", {"b"}),
        ("SELECT * FROM B WHERE ID=$1 AND V IN ($2,$3)", {"b"}),
        ('select * from "b"', {"b"}),
        ("select * from other.a", {"other.a"}),
        ("select b.id from b join parent on b.id = parent.id", {"b", "parent", "child"}),
        ("select * from parts", {"parts", "part_1"}),
        ("select * from part_1", {"part_1"}),
        ("with x as (select id from b) select count(*) from x", {"b"}),
        ("select id from b union all select id from log", {"b", "log"}),
        ("select (select max(id) from log) from b", {"b", "log"}),
        ("select id, pure(id) from b order by id limit 5", {"b"}),
        ("select date_trunc('day', $1::timestamptz), lower(v) from b", {"b"}),
        ("table b", {"b"}),
        ("select /* now() */ id from b -- for update", {"b"}),
        ("select id from b where v = 'for update'", {"b"}),
        ("select sum(id) over (partition by v), string_agg(v, ',') from b group by id, v", {"b"}),
    ],
)
def test_a_result_may_be_kept_until_these_tables_change(judge, text, tables):
    verdict, keeps, effects = judge(text)
    assert keeps == tables
    assert effects == set()
    assert verdict.read_only
    assert verdict.quiet


@pytest.mark.parametrize(
    "text",
    [
        "select now(), id from b",
        "select current_date, id from b",
        "select current_user, id from b",
        "select current_setting('x'), id from b",
        "select random(), id from b",
        "select id from b where v = 'now'::text",
        "select 'today'::date, id from b",
        r"select E'n\x6fw'::timestamptz, id from b",
        "select age(to_timestamp(id)), id from b",
        "select id from b for update",
        "select id from b for key share skip locked",
        "select * from b tablesample system (10)",
        "select ctid, id from b",
        "select * from secret",
        "select * from pg_class",
        "select * from information_schema.tables",
        "select * from system_view",
        "select * from a_clock",
        "select * from s",
        "select nextval('s'), id from b",
        "select look(1), id from b",
        "select act(1), id from b",
        "select a.full_v from a",
        "select * from missing",
        "select 1",
        "select * from generate_series(1, 3)",
        "explain select * from b",
        "select id into copy from b",
        "select id from b; select id from b",
        "with d as (delete from b returning id) select * from d",
        'select U&"b".id from b',
        "select 'unfinished from b",
        "",
    ],
)
def test_a_result_is_never_kept(judge, text):
    assert judge(text)[1] is None


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("insert into b values (1)", {"b"}),
        ("insert into b (id) select id from log on conflict do nothing", {"b"}),
        ("insert into b values (1) on conflict (id) do update set v = 'x'", {"b"}),
        ("update b set v = $1 where id = $2 returning *", {"b"}),
        ("delete from a where id = 1", {"a", "b"}),
        ("delete from only parent", {"parent", "child"}),
        ("truncate b", {"b"}),
        ("update a_view set v = 'x'", {"a_view", "a", "b"}),
        ("insert into parts values (1)", {"parts", "part_1"}),
        ("with d as (delete from b returning id) insert into log select id from d", {"b", "log"}),
        ("merge into b using log on b.id = log.id when matched then delete", {"b"}),
        ("insert into b values (1); delete from log", {"b", "log"}),
        ("set work_mem = '1MB'", set()),
        ("begin", set()),
        ("listen x", set()),
        ("select nextval('s')", set()),
        ("select * from a for update", set()),
    ],
)
def test_these_tables_may_have_changed(judge, text, tables):
    assert judge(text)[2] == tables


@pytest.mark.parametrize(
    "text",
    [
        "insert into logged values (1)",
        "truncate a cascade",
        "create table x (id int)",
        "drop table b",
        "do $$ begin delete from b; end $$",
        "call anything()",
        "select act(1)",
        "refresh materialized view a_material",
        "commit prepared 'x'",
        "execute x",
        "explain analyze delete from b",
        "insert into missing values (1)",
        "select id into copy from b",
        "begin; delete from b; commit",
        "copy b from stdin",
        "alter table b add c int",
        "import foreign schema x from server y into z",
    ],
)
def test_anything_may_have_changed(judge, text):
    assert judge(text)[2] is EVERYTHING


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("select * from a where id = $1", True),
        ("insert into logged values ($1)", True),
        ("select pg_advisory_xact_lock(1)", True),
        ("select pg_advisory_lock(1)", False),
        ("select pg_try_advisory_lock_shared(1)", False),
        ("select set_config('a.b', 'c', true)", False),
        ("select \"set_config\"('a.b', 'c', true)", False),
        ("select pg_catalog . set_config /* x */ ('a.b', 'c', true)", False),
        ("set x.y = 1", False),
        ("listen x", False),
        ("prepare x as select 1", False),
        ("declare c cursor with hold for select 1", False),
        ("select 1; set x.y = 1", False),
        ("create temp table t (x int)", False),
        ("discard all", False),
    ],
)
def test_a_session_is_afterwards_as_it_was(judge, text, safe):
    assert judge(text)[0].session_safe is safe


@pytest.mark.parametrize(
    "text",
    [
        "with x as (insert into a values (1) returning id) select id from x",
        "select * from a for no key update",
        "select nextval('s')",
        "select setval('s', 1)",
        "select act(1)",
        "select * into x from a",
        "explain analyze select 1",
        "select pg_advisory_lock(1)",
        "select gen_random_uuid()",
        "lock table a",
        "select 1; select 2; delete from a",
        "fetch 1 from c",
        "show work_mem",
    ],
)
def test_a_replica_never_gets(judge, text):
    assert not judge(text)[0].read_only


def test_without_a_catalog_nothing_is_known():
    verdict = Analyst(10).look("select 1")
    assert (verdict.session_safe, verdict.read_only, verdict.effects) == (False, False, EVERYTHING)


def test_only_so_many_texts_are_remembered():
    analyst = Analyst(10)
    for number in range(50):
        analyst.look(f"select {number}")
    assert len(analyst.verdicts()) == 10


@pytest.mark.parametrize(
    ("text", "words", "calls"),
    [
        ("a'b'(", {"a"}, set()),
        ("f (1)", {"f"}, {"f"}),
        ('"F""x"(1)', {'F"x'}, {'F"x'}),
        ("f /* /* ( */ */ (1)", {"f"}, {"f"}),
        ("$a$ f(1) $a$ g", {"g"}, set()),
        ("$1,$2,g(1)", {"g"}, {"g"}),
        ("x -- f(1)\ny", {"x", "y"}, set()),
        ("e'\\' f(1) '", set(), set()),
        ("'\\' f(1) -- '", {"f"}, {"f"}),
        ("1.5e3f(2)", set(), set()),
        ("$$ it's $$ || f($$x$$)", {"f"}, {"f"}),
    ],
)
def test_words_are_read_as_postgresql_reads_them(text, words, calls):
    lexed = _lexer.lex(text)
    assert (lexed.words, lexed.calls) == (words, calls)


def test_random_text_never_breaks_the_reader():
    rng = random.Random(3)
    signs = "a1'\"$-/*;()eEuU&.:x \n\\"
    for _ in range(3000):
        text = "".join(rng.choice(signs) for _ in range(rng.randrange(25)))
        lexed = _lexer.lex(text)
        assert lexed is None or all(isinstance(word, str) for word in lexed.words)
