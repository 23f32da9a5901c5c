"""The applications that are asked over HTTP, each in a process of its own.

All have the same endpoints, written for asyncpg's pool and a dictionary of agents, and differ in
what is named by the way. A process writes its port on its output, and ends with its input.
"""

import asyncio
import random
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import asyncpg
import uvicorn
from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware

from overdrive.agents import OptimizationConfig, OptimizedAgentManager
from overdrive.api import CompressionMiddleware, PerformanceConfig, PerformanceMiddleware
from overdrive.benchmarks.services import AGENTS
from overdrive.benchmarks.subjects import Tracker
from overdrive.database import DatabaseConfig, OptimizedConnectionPool

__all__ = ["WAYS", "has", "main"]

CONNECTIONS = 10
TTL = 60
READ = "select id, name, score, observations from agents where team = $1 order by score desc, id"
WRITE = "update agents set score = $2, observations = observations + 1 where id = $1"


class Parts(Protocol):
    """What the endpoints stand on."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go of everything."""

    async def read(self, team: int) -> list[Any]:
        """Read the agents of a team from the database."""

    async def observe(self, observations: Mapping[int, float]) -> None:
        """Step agents, and save their scores."""


class Plain:
    """Agents in a dictionary, stepped by threads, and asyncpg's pool."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.agents = {i: Tracker() for i in range(AGENTS)}

    async def open(self) -> None:
        """Connect."""
        self.pool = await asyncpg.create_pool(self.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
        self.threads = ThreadPoolExecutor()

    async def close(self) -> None:
        """Let go of everything."""
        await self.pool.close()
        self.threads.shutdown()

    async def read(self, team: int) -> list[Any]:
        """Read the agents of a team from the database."""
        rows: list[Any] = await self.pool.fetch(READ, team)
        return rows

    async def observe(self, observations: Mapping[int, float]) -> None:
        """Step agents, and save their scores."""
        loop = asyncio.get_running_loop()
        steps = {
            i: loop.run_in_executor(self.threads, self.agents[i].step, seen)
            for i, seen in observations.items()
        }
        scores = [(i, await step) for i, step in steps.items()]
        await self.pool.executemany(WRITE, scores)


class Managed:
    """The manager, and the pool with its cache."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def open(self) -> None:
        """Connect."""
        self.manager = OptimizedAgentManager(OptimizationConfig())
        for i in range(AGENTS):
            self.manager.register_agent(i, Tracker())
        self.pool = await OptimizedConnectionPool(
            DatabaseConfig(
                database_url=self.dsn, min_connections=CONNECTIONS, max_connections=CONNECTIONS
            )
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.pool.close()
        self.manager.shutdown()

    async def read(self, team: int) -> list[Any]:
        """Read the agents of a team from the cache, or from the database."""
        return await self.pool.execute_query(READ, team, use_cache=True)

    async def observe(self, observations: Mapping[int, float]) -> None:
        """Step agents, and save their scores."""
        scores = await asyncio.to_thread(self.manager.step_agents, observations)
        await self.pool.execute_many(WRITE, list(scores.items()))


def _application(
    parts: Parts, *, cache: Callable[[Any], Any] = lambda function: function
) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.open()
        yield
        await parts.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/teams/{team}", response_model=None)
    @cache
    async def team_of(team: int) -> Any:
        return [dict(row) for row in await parts.read(team)]

    @app.post("/teams/{team}", response_model=None)
    async def observe(team: int, request: Request) -> Any:
        observations = {int(i): seen for i, seen in (await request.json()).items()}
        await parts.observe(observations)
        return {"team": team, "observed": len(observations)}

    @app.get("/forecast/{team}", response_model=None)
    @cache
    async def forecast(team: int) -> Any:
        draw = random.Random(team)  # noqa: S311 - work, not secrets
        return {"team": team, "scores": sorted(draw.gauss(0, 1) for _ in range(2000))[:50]}

    return app


def _with(middleware: Any, **options: Any) -> Callable[[str], FastAPI]:
    def make(dsn: str) -> FastAPI:
        app = _application(Plain(dsn))
        app.add_middleware(middleware, **options)
        return app

    return make


def _fastapi_cache(dsn: str) -> FastAPI:
    from fastapi_cache import FastAPICache  # noqa: PLC0415 - a peer, which may be missing
    from fastapi_cache.backends.inmemory import InMemoryBackend  # noqa: PLC0415 - the same
    from fastapi_cache.decorator import cache  # noqa: PLC0415 - the same

    FastAPICache.init(InMemoryBackend())
    return _application(Plain(dsn), cache=cache(expire=TTL))


def _starlette_compress(dsn: str) -> FastAPI:
    from starlette_compress import CompressMiddleware  # noqa: PLC0415 - a peer

    return _with(CompressMiddleware)(dsn)


def _whole(dsn: str) -> FastAPI:
    app = _application(Managed(dsn))
    app.add_middleware(PerformanceMiddleware, config=PerformanceConfig())
    return app


WAYS: dict[str, Callable[[str], FastAPI]] = {
    "plain": lambda dsn: _application(Plain(dsn)),
    "GZipMiddleware": _with(GZipMiddleware),
    "starlette-compress": _starlette_compress,
    "fastapi-cache2": _fastapi_cache,
    "compression": _with(CompressionMiddleware),
    "middleware": _with(PerformanceMiddleware),
    "all of Overdrive": _whole,
}

_PEERS = {"starlette-compress": "starlette_compress", "fastapi-cache2": "fastapi_cache"}


def has(way: str) -> bool:
    """Say whether what a way needs is installed."""
    return way not in _PEERS or find_spec(_PEERS[way]) is not None


def main(way: str, dsn: str) -> None:
    """Serve an application of a way, with a database, until the input ends."""
    config = uvicorn.Config(WAYS[way](dsn), log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    # The protocol is named, because only then asyncio sends small pieces at once.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)

        def watch() -> None:
            sys.stdin.read()
            server.should_exit = True

        threading.Thread(target=watch, daemon=True).start()
        # Requests wait in the socket until the application has started.
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])
