"""The guide's database: configurations, cached and prepared queries, statistics."""

import pytest

from overdrive.database.optimized_db import (
    DatabaseConfig,
    OptimizedConnectionPool,
    close_optimized_db,
    execute_prepared,
    execute_query,
    get_db_statistics,
    initialize_optimized_db,
    prepare_statement,
)

CONFIGURATIONS = {
    "first": {"query_cache_size": 1000, "auto_scaling_enabled": True},
    "quick start": {},
    "options": {
        "query_cache_size": 1000,
        "auto_scaling_enabled": True,
        "slow_query_threshold": 0.1,
    },
}


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
async def test_the_database_opens_with_every_configuration(database, options):
    config = DatabaseConfig(min_connections=5, max_connections=50, **options)
    pool = await initialize_optimized_db(config)
    try:
        assert isinstance(pool, OptimizedConnectionPool)
        assert pool.get_size() >= 5
    finally:
        await close_optimized_db()


async def test_a_cached_query_returns_what_the_table_holds(database):
    await initialize_optimized_db(DatabaseConfig(min_connections=1, max_connections=5))
    try:
        query = "SELECT * FROM agents WHERE status = $1"
        for _ in range(2):
            result = await execute_query(query, "active", read_only=True, use_cache=True)
            assert [row["id"] for row in result] == [1, 2]
        await execute_query("UPDATE agents SET status = 'active' WHERE id = 3")
        result = await execute_query(query, "active", read_only=True, use_cache=True)
        assert sorted(row["id"] for row in result) == [1, 2, 3]
    finally:
        await close_optimized_db()


async def test_a_statement_is_prepared_once_and_executed_many_times(database):
    await initialize_optimized_db(DatabaseConfig(min_connections=1, max_connections=5))
    try:
        stmt_hash = await prepare_statement("SELECT * FROM users WHERE id = $1")
        names = [(await execute_prepared(stmt_hash, user_id))[0]["name"] for user_id in (1, 2)]
        assert names == ["Ada", "Grace"]
    finally:
        await close_optimized_db()


async def test_statistics_count_slow_queries(database):
    config = DatabaseConfig(min_connections=1, max_connections=5, slow_query_threshold=0.0)
    await initialize_optimized_db(config)
    try:
        await execute_query("SELECT 1")
        stats = await get_db_statistics()
        assert stats["query_stats"]["slow_queries"] > 0
    finally:
        await close_optimized_db()
