"""The functions of the module, as the guide uses them."""

import asyncio

import pytest

from overdrive.database import (
    DatabaseConfig,
    DatabaseNotInitializedError,
    close_optimized_db,
    embedded,
    execute_many,
    execute_prepared,
    execute_query,
    get_connection,
    get_db_statistics,
    initialize_optimized_db,
    optimized_db,
    prepare_statement,
)


@pytest.fixture
def users_dir(monkeypatch, open_directory):
    directory = open_directory / "of the user"
    monkeypatch.setattr(embedded, "default_data_dir", lambda: directory)
    return directory


def test_with_nothing_configured_a_server_is_started_and_the_data_stays(users_dir):
    async def run(work):
        await initialize_optimized_db()
        try:
            return await work()
        finally:
            await close_optimized_db()
            await close_optimized_db()

    async def first():
        await execute_query("create table users (id int primary key, status text)")
        await execute_many("insert into users values ($1, 'active')", [(1,), (2,)])

    async def second():
        return await execute_query("select count(*) from users")

    asyncio.run(run(first))
    assert not (users_dir / "postmaster.pid").exists()
    assert asyncio.run(run(second)) == [(2,)]
    assert not (users_dir / "postmaster.pid").exists()


async def test_the_snippets_of_the_guide_work(dsn):
    config = DatabaseConfig(
        database_url=dsn,
        min_connections=5,
        max_connections=50,
        query_cache_size=1000,
        auto_scaling_enabled=True,
        slow_query_threshold=0.1,
    )
    await initialize_optimized_db(config)
    try:
        async with get_connection() as connection:
            await connection.execute("""
                create table agents (id int, status text); insert into agents values (1, 'active');
                create table users (id int); insert into users values (1), (2), (3);
            """)
        result = await execute_query(
            "SELECT * FROM agents WHERE status = $1", "active", read_only=True, use_cache=True
        )
        assert result == [(1, "active")]
        stmt_hash = await prepare_statement("SELECT * FROM users WHERE id = $1")
        for user_id in (1, 2, 3):
            assert await execute_prepared(stmt_hash, user_id) == [(user_id,)]
        stats = await get_db_statistics()
        assert stats["query_stats"]["slow_queries"] == 0
        assert stats["pool_stats"]["size"] >= 5
    finally:
        await close_optimized_db()


async def test_initializing_again_replaces_the_pool(dsn):
    config = DatabaseConfig(database_url=dsn, min_connections=1, max_connections=2)
    first = await initialize_optimized_db(config)
    second = await initialize_optimized_db(config)
    assert first.is_closing()
    assert not second.is_closing()
    await close_optimized_db()
    assert second.is_closing()


async def test_a_failed_start_leaves_the_old_pool_and_no_connection(dsn):
    first = await initialize_optimized_db(
        DatabaseConfig(database_url=dsn, min_connections=1, max_connections=2)
    )
    with pytest.raises(OSError, match=r"."):
        await initialize_optimized_db(
            DatabaseConfig(database_url="postgresql://x@127.0.0.1:1/x", min_connections=1)
        )
    assert not first.is_closing()
    assert await execute_query("select 1") == [(1,)]
    await close_optimized_db()


async def test_before_the_start_each_function_says_what_to_call():
    for call in (
        lambda: execute_query("select 1"),
        lambda: execute_many("select 1", []),
        lambda: prepare_statement("select 1"),
        lambda: execute_prepared("x"),
        get_db_statistics,
    ):
        with pytest.raises(DatabaseNotInitializedError, match="initialize_optimized_db"):
            await call()
    with pytest.raises(DatabaseNotInitializedError):
        get_connection()


def test_everything_public_is_a_name_of_the_module():
    assert all(hasattr(optimized_db, name) for name in optimized_db.__all__)
