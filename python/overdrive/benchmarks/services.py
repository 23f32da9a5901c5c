"""The servers that benchmarks share: a PostgreSQL, and applications in processes of their own."""

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Self

import asyncpg

from overdrive.benchmarks.errors import WrongResultError
from overdrive.database import EmbeddedPostgres

__all__ = ["AGENTS", "TEAM", "Services"]

AGENTS = 10_000
TEAM = 100
"""Agents of a team."""

START_SECONDS = 60.0
STOP_SECONDS = 10.0

SERVE = "import sys; from overdrive.benchmarks.served import main; main(*sys.argv[1:])"

SCHEMA = f"""
    drop table if exists agents, log;
    create table agents (
        id int primary key, team int not null, name text not null,
        score float8 not null, observations int not null
    );
    insert into agents
    select i, i / {TEAM}, 'agent ' || i, (i * 7919 % 1000) / 10.0, 0
    from generate_series(0, {AGENTS - 1}) i;
    create index on agents (team);
    create table log (id int not null, status text not null, score float8 not null);
    analyze agents;
"""  # noqa: S608 - numbers of this module


class Services:
    """Starts what is first wanted, and stops all of it at the end of the block."""

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        self._stack = AsyncExitStack()
        self._postgres: EmbeddedPostgres | None = None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def dsn(self) -> str:
        """Return the address of an embedded PostgreSQL of its own."""
        if self._postgres is None:
            path = self._stack.enter_context(_open_directory())
            self._postgres = EmbeddedPostgres(path / "data")
            await asyncio.to_thread(self._postgres.start)
            self._stack.push_async_callback(asyncio.to_thread, self._postgres.stop)
        return self._postgres.dsn

    async def fresh_tables(self) -> str:
        """Make the tables anew, with 10,000 agents in teams of 100, and return the address."""
        dsn = await self.dsn()
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(SCHEMA)
        finally:
            await connection.close()
        return dsn

    async def serve(self, stack: AsyncExitStack, way: str) -> str:
        """Serve an application of `served` in a process of its own, until the stack is closed.

        Returns:
            Its address.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, way, await self.dsn(),
            stdin=PIPE, stdout=PIPE,
        )  # fmt: skip
        stack.push_async_callback(_stop, process)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if not line:
            raise WrongResultError(f"the application {way} did not start")
        return f"http://127.0.0.1:{int(line)}"


@contextmanager
def _open_directory() -> Iterator[Path]:
    """Make a directory that the server's own user may enter."""
    with tempfile.TemporaryDirectory(
        prefix="overdrive-bench-", ignore_cleanup_errors=True
    ) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


async def _stop(process: Process) -> None:
    """End a server, which ends with its input."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
