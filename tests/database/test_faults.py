"""What happens when servers, lines and callers fail."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
from driving import until
from proxy import Proxy
from topology import MISSING, Server, _run, programs

from overdrive.database import (
    DatabaseConfig,
    EmbeddedPostgres,
    OptimizedConnectionPool,
    PartialWriteError,
    PoolTimeoutError,
    create_pool,
)

pytestmark = pytest.mark.timeout(120)

LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def node(pool):
    return pool._primary


@contextlib.asynccontextmanager
async def behind_proxy(dsn, **settings):
    """A pool whose connections go through a line that can fail."""
    address = urlsplit(dsn)
    directory = parse_qs(address.query)["host"][0]
    async with Proxy(f"{directory}/.s.PGSQL.5432") as proxy:
        config = DatabaseConfig(
            database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}{address.path}",
            **(
                {"min_connections": 1, "max_connections": 2, "acquire_timeout": 10.0}
                | {"health_check_timeout": 0.3, "connect_timeout": 0.5}
                | settings
            ),
        )
        async with OptimizedConnectionPool(config) as pool:
            yield pool, proxy


async def settled(pool):
    await until(lambda: node(pool).in_use == 0 and not node(pool)._tasks)
    assert node(pool).waiting == 0


async def test_a_line_that_is_cut_is_replaced(dsn):
    async with behind_proxy(dsn) as (pool, proxy):
        for _ in range(5):
            proxy.cut()
            assert await pool.fetchval("select 1") == 1
        with pytest.raises(LOST):  # noqa: PT012 - the lease is left by the error
            async with pool.acquire() as connection:
                proxy.cut()
                await connection.fetchval("select 1")
        await settled(pool)
        assert await pool.fetchval("select 1") == 1


async def test_a_write_on_a_line_that_is_cut_is_never_repeated(dsn):
    async with behind_proxy(dsn) as (pool, proxy):
        await pool.execute("create table t (a int)")
        await pool.reload_schema()
        outcomes = []

        async def client(number):
            try:
                await pool.execute("insert into t values ($1)", number)
                outcomes.append(number)
            except LOST:
                pass

        for round_ in range(10):
            tasks = [asyncio.ensure_future(client(10 * round_ + n)) for n in range(10)]
            await asyncio.sleep(0.002 * (round_ % 3))
            proxy.cut()
            await asyncio.gather(*tasks)
        await settled(pool)
        rows = [row["a"] for row in await pool.fetch("select a from t")]
        assert len(rows) == len(set(rows))
        assert set(outcomes) <= set(rows)
        assert len(outcomes) > 0


async def test_a_silent_line_costs_no_more_than_the_deadline(dsn):
    async with behind_proxy(dsn) as (pool, proxy):
        loop = asyncio.get_running_loop()
        proxy.passing.clear()
        began = loop.time()
        with pytest.raises(TimeoutError):
            await pool.execute_query("select 1", timeout=0.2)
        with pytest.raises(TimeoutError):
            await pool.execute_query("select 1", timeout=0.2)
        assert loop.time() - began < 5
        proxy.passing.set()
        assert await pool.fetchval("select 1") == 1
        await settled(pool)


async def test_an_idle_connection_on_a_dead_line_is_not_handed_out(dsn):
    async with behind_proxy(dsn, check_idle_after=1e-9, min_connections=1) as (pool, proxy):
        await settled(pool)
        proxy.passing.clear()
        asyncio.get_running_loop().call_later(0.5, proxy.passing.set)
        assert await pool.fetchval("select 1") == 1
        assert node(pool).counts.failed_checks >= 1


async def test_a_refusing_server_is_asked_again_until_the_deadline(dsn):
    async with behind_proxy(dsn) as (pool, proxy):
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(PoolTimeoutError, match="last failure: Connection"):
            await pool.execute_query("select 1", timeout=0.3)
        assert not pool.get_statistics()["health"]["healthy"]
        attempts = node(pool).counts.failed_connects
        waiting = asyncio.ensure_future(pool.fetchval("select 1"))
        await asyncio.sleep(0.1)
        assert node(pool).counts.failed_connects - attempts < 10
        proxy.refuses = False
        assert await waiting == 1
        assert pool.get_statistics()["health"]["healthy"]


async def test_what_is_kept_survives_no_lost_line_to_the_listener(dsn):
    async with behind_proxy(dsn, track_changes=True) as (pool, proxy):
        await pool.execute("create table t (a int)")
        await pool.reload_schema()
        query = "select count(*) from t"
        await pool.execute_query(query, use_cache=True)
        proxy.passing.clear()
        other = await asyncpg.connect(dsn)
        await other.execute("insert into t values (1)")
        await other.close()
        await until(lambda: not pool._cache.open, seconds=pool.changes_delay + 1)
        proxy.passing.set()
        assert await pool.execute_query(query, use_cache=True) == [(1,)]


async def test_a_server_that_is_killed_under_load_loses_nothing_it_acknowledged(open_directory):
    directory = open_directory / "killed"
    with EmbeddedPostgres(directory) as server:
        config = DatabaseConfig(
            database_url=server.dsn, min_connections=2, max_connections=4, acquire_timeout=60.0
        )
        async with OptimizedConnectionPool(config) as pool:
            await pool.execute("create table t (a int)")
            await pool.reload_schema()
            acknowledged, stop = [], False

            async def client(number):
                count = 0
                while not stop:
                    count += 1
                    value = number * 1_000_000 + count
                    try:
                        await pool.execute("insert into t values ($1)", value)
                        acknowledged.append(value)
                        await pool.execute_query("select count(*) from t", use_cache=True)
                    except LOST:
                        await asyncio.sleep(0.01)

            clients = [asyncio.ensure_future(client(n)) for n in range(8)]
            await until(lambda: len(acknowledged) > 50)
            await asyncio.to_thread(kill, directory)
            before = len(acknowledged)
            await asyncio.to_thread(_restart, directory)
            await until(lambda: len(acknowledged) > before + 50, seconds=30)
            stop = True
            await asyncio.gather(*clients)
            rows = [row["a"] for row in await pool.fetch("select a from t")]
            assert len(rows) == len(set(rows))
            assert set(acknowledged) <= set(rows)
            kept = await pool.execute_query("select count(*) from t", use_cache=True)
            assert kept == [(len(rows),)]
            await until(lambda: node(pool).in_use == 0)


def kill(directory):
    postmaster = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=30)


def _restart(directory):
    # Another user of the directory finds the server dead and starts it again.
    code = (
        "import sys; from overdrive.database import EmbeddedPostgres as E; E(sys.argv[1]).start()"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, timeout=90)


async def test_a_database_that_is_not_there_fails_at_once(dsn):
    missing = dsn.replace("/test_", "/missing_")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await create_pool(missing, min_size=1, max_size=2)
    async with create_pool(missing, min_size=0, max_size=2) as pool:
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await pool.fetchval("select 1")
        assert node(pool).waiting == 0


@pytest.fixture
def small_disk(dsn, open_directory):
    """The directory of a file system of four megabytes."""
    directory = open_directory / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)  # noqa: S607


async def test_a_full_disk_is_an_error_and_no_more(open_pool, small_disk):
    space = small_disk / "space"
    space.mkdir(mode=0o777)
    async with open_pool() as pool:
        shutil.chown(space, space.parent.parent.joinpath("embedded", "data").owner())
        await pool.execute(f"create tablespace small location '{space}'")
        await pool.execute("create table t (a int, filler text) tablespace small")
        await pool.reload_schema()
        row = (1, "x" * 7000)
        # What does not compress: each row takes a page.
        await pool.execute("alter table t alter filler set storage plain")
        written, failed = 0, 0
        try:
            with pytest.raises(PartialWriteError) as caught:
                await pool.execute_many(
                    "insert into t values ($1, $2)", [row] * 2000, batch_size=50
                )
            assert isinstance(caught.value.__cause__, asyncpg.DiskFullError)
            assert caught.value.in_doubt == 0
            written = caught.value.written

            async def client():
                nonlocal written, failed
                for _ in range(20):
                    try:
                        await pool.execute("insert into t values ($1, $2)", *row)
                        written += 1
                    except asyncpg.DiskFullError:
                        failed += 1

            await asyncio.gather(*(client() for _ in range(5)))
            assert failed > 0
            await settled(pool)
            query = "select count(*) from t"
            assert await pool.execute_query(query, use_cache=True) == [(written,)]
            await pool.execute("drop table t")
            await pool.execute("create table t (a int, filler text) tablespace small")
            assert await pool.execute("insert into t values ($1, $2)", *row) == "INSERT 0 1"
            assert await pool.execute_query(query, use_cache=True) == [(1,)]
        finally:
            await pool.execute("drop table t")
            await pool.execute("drop tablespace small")


def test_a_forked_child_opens_its_own_pool(dsn):
    code = """
        import asyncio, os, sys
        from overdrive.database import (
            DatabaseConfig, DatabaseNotInitializedError, PoolMisuseError, execute_query,
            initialize_optimized_db, close_optimized_db,
        )

        async def use(text):
            return (await execute_query(text))[0][0]

        async def child(parent_pool):
            try:
                await use("select 1")
            except DatabaseNotInitializedError:
                pass
            else:
                return 1
            try:
                await parent_pool.fetchval("select 1")
            except PoolMisuseError as error:
                if "after a fork" not in str(error):
                    return 2
            await initialize_optimized_db(config)
            value = await use("select 41 + 1")
            await close_optimized_db()
            return 0 if value == 42 else 3

        async def parent():
            pool = await initialize_optimized_db(config)
            before = await use("select 1")
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                asyncio.set_event_loop(None)
                os._exit(asyncio.run(child(pool)))
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0, status
            assert await use("select 2") == 2
            await close_optimized_db()

        config = DatabaseConfig(database_url=sys.argv[1], min_connections=1, max_connections=2)
        asyncio.run(parent())
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), dsn],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


# With a server of the system, which has passwords and few connections


@pytest.fixture(scope="module")
def strict_server(open_directory):
    if programs() is None:
        pytest.skip(MISSING)
    directory = open_directory / "strict"
    directory.mkdir()
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    password = directory.parent / "password"
    password.write_text("s3cr3t")
    password.chmod(0o644)
    server = Server(directory / "data", max_connections=6, superuser_reserved_connections=1)
    _run(
        programs() / "initdb", "-D", server.data, "-U", "postgres", "--auth=scram-sha-256",
        f"--pwfile={password}", "--no-sync",
    )  # fmt: skip
    server.start()
    yield server
    server.stop()


def with_password(server, password):
    return server.dsn.replace("postgres@", f"postgres:{password}@")


async def test_a_wrong_password_fails_at_once_and_is_not_shown(strict_server):
    address = with_password(strict_server, "wr0ng-w0rd")
    for minimum in (0, 1):
        pool = create_pool(address, min_size=minimum, max_size=2)
        with pytest.raises(asyncpg.InvalidPasswordError) as caught:
            await (await pool).fetchval("select 1")
        assert "wr0ng-w0rd" not in f"{caught.value} {caught.value!r} {pool!r}"
        if minimum == 0:
            shown = pool.get_statistics()
            assert shown["health"]["last_error"].startswith("InvalidPasswordError")
            assert "wr0ng-w0rd" not in str(shown)
        pool.terminate()


async def test_a_full_server_is_used_with_as_many_connections_as_it_gives(strict_server):
    dsn = with_password(strict_server, "s3cr3t")
    config = DatabaseConfig(
        database_url=dsn, min_connections=1, max_connections=20, auto_scaling_enabled=False
    )
    async with OptimizedConnectionPool(config) as pool:
        answers = await asyncio.gather(
            *(pool.fetchval("select $1::int from pg_sleep(0.01)", n) for n in range(60))
        )
        assert answers == list(range(60))
        assert node(pool).counts.failed_connects > 0
        assert 1 < node(pool).target <= 6
        await settled(pool)
