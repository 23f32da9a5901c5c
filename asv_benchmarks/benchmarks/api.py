"""The API middleware beside the bare application and what others put in front of it.

Run as a program, this prints the whole table: `python asv_benchmarks/benchmarks/api.py`. The ways
of a row take turns within one run.
"""

import asyncio
import hashlib
import json
import multiprocessing
import platform
import random
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response

from overdrive.api import (
    CacheConfig,
    CompressionConfig,
    CompressionMiddleware,
    PerformanceConfig,
    PerformanceMiddleware,
)

App = Callable[[Any, Any, Any], Awaitable[None]]

AGENTS = [
    {"id": i, "name": f"agent-{i}", "belief": i / 7, "tags": ["a", "b"], "active": i % 2 == 0}
    for i in range(170)
]
BODY = json.dumps(AGENTS, separators=(",", ":")).encode()
LONG = b"".join(b'{"id":%d,"belief":%.6f}\n' % (i, i**0.5) for i in range(320_000))
PLAIN_HEADERS = [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"application/json")]


def scope_of(path: str = "/agents", query: bytes = b"", accept: bytes = b"identity") -> Any:
    """Make a request as a server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [
            (b"host", b"example.org"),
            (b"user-agent", b"benchmark"),
            (b"accept", b"*/*"),
            (b"accept-encoding", accept),
            (b"connection", b"keep-alive"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def receive() -> Any:
    """Have nothing more to say."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    """Take whatever comes."""


async def raw(_scope: Any, _receive: Any, send: Any) -> None:
    """Send the same bytes as a hit directly."""
    # Of its own for every request, because starlette-compress changes it.
    await send({"type": "http.response.start", "status": 200, "headers": PLAIN_HEADERS.copy()})
    await send({"type": "http.response.body", "body": BODY})


async def hashing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Take about as long as compressing 10 MB does, in another thread that holds no lock."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: hashlib.sha256(LONG * 6))


async def long_answer(_scope: Any, _receive: Any, send: Any) -> None:
    """Send 10 MB in one piece."""
    headers = [(b"content-length", b"%d" % len(LONG)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LONG})


def bare() -> FastAPI:
    """Make an application of one small and one longer JSON endpoint, and one that computes."""
    app = FastAPI()

    @app.get("/small", response_model=None)
    async def small() -> Any:
        return {"ok": True}

    @app.get("/agents", response_model=None)
    async def agents() -> Any:
        return AGENTS

    @app.get("/score", response_model=None)
    async def score(seed: int = 0) -> Any:
        draw = random.Random(seed)  # noqa: S311 - work, not secrets
        return {"seed": seed, "scores": sorted(draw.random() for _ in range(500))[:50]}

    return app


def base_http() -> FastAPI:
    """Put a `BaseHTTPMiddleware` that does nothing before it."""
    app = bare()

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return app


def fastapi_cache() -> FastAPI:
    """Decorate the longer endpoint with fastapi-cache2."""
    from fastapi_cache import FastAPICache  # noqa: PLC0415 - a peer
    from fastapi_cache.backends.inmemory import InMemoryBackend  # noqa: PLC0415 - a peer
    from fastapi_cache.decorator import cache  # noqa: PLC0415 - a peer

    FastAPICache.reset()
    FastAPICache.init(InMemoryBackend())
    app = FastAPI()

    async def agents() -> Any:
        return AGENTS

    app.add_api_route("/agents", cache(expire=300)(agents), response_model=None)
    return app


def starlette_compress(app: App) -> App:
    """Compress by starlette-compress, with the coding that the request names."""
    from starlette_compress import CompressMiddleware  # noqa: PLC0415 - a peer

    compressed: App = CompressMiddleware(app)
    return compressed


async def call(app: App, count: int, make_scope: Callable[[], Any]) -> float:
    """Return the microseconds of a request, of the processor: nothing here waits."""
    began = time.thread_time()
    for _ in range(count):
        await app(make_scope(), receive, send)
    return (time.thread_time() - began) / count * 1e6


async def compare(
    ways: dict[str, tuple[App, int, Callable[[], Any]]], rounds: int = 15
) -> dict[str, float]:
    """Return the median microseconds of a request by way; the ways take turns."""
    for app, _, make_scope in ways.values():
        await call(app, 3, make_scope)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (app, count, make_scope) in ways.items():
            times[way].append(await call(app, count, make_scope))
    return {way: statistics.median(values) for way, values in times.items()}


def numbered(path: str) -> Callable[[], Any]:
    """Make requests that have never been made before."""
    counter = iter(range(10**9))
    return lambda: scope_of(path, b"n=%d" % next(counter))


class Hits:
    """A stored answer of 16 kB; `raw` sends the same bytes directly, `FastAPI` makes them."""

    params = ("PerformanceMiddleware", "raw", "FastAPI", "fastapi-cache2")
    param_names = ("way",)

    def setup(self, way: str) -> None:
        makers: dict[str, Callable[[], App]] = {
            "PerformanceMiddleware": lambda: PerformanceMiddleware(raw),
            "raw": lambda: raw,
            "FastAPI": bare,
            "fastapi-cache2": fastapi_cache,
        }
        self.app = makers[way]()
        asyncio.run(call(self.app, 3, scope_of))

    def time_hundred_requests(self, _way: str) -> None:
        asyncio.run(call(self.app, 100, scope_of))


class Misses:
    """Small JSON that is not stored yet."""

    params = ("PerformanceMiddleware", "FastAPI", "BaseHTTPMiddleware")
    param_names = ("way",)

    def setup(self, way: str) -> None:
        makers: dict[str, Callable[[], App]] = {
            "PerformanceMiddleware": lambda: PerformanceMiddleware(bare()),
            "FastAPI": bare,
            "BaseHTTPMiddleware": base_http,
        }
        self.app = makers[way]()
        self.scope = numbered("/small")

    def time_hundred_requests(self, _way: str) -> None:
        asyncio.run(call(self.app, 100, self.scope))


class Compression:
    """16 kB of JSON, compressed anew for each request."""

    params = (("CompressionMiddleware", "starlette-compress"), ("br", "zstd", "gzip"))
    param_names = ("way", "coding")

    def setup(self, way: str, coding: str) -> None:
        self.app: App = (
            CompressionMiddleware(raw)
            if way == "CompressionMiddleware"
            else starlette_compress(raw)
        )
        self.accept = coding.encode()

    def time_ten_requests(self, _way: str, _coding: str) -> None:
        asyncio.run(call(self.app, 10, lambda: scope_of(accept=self.accept)))

    def track_bytes(self, _way: str, _coding: str) -> int:
        return asyncio.run(length_of(self.app, scope_of(accept=self.accept)))


class Coalescing:
    """A thousand identical requests at the same time, for an endpoint that computes."""

    params = ("PerformanceMiddleware", "FastAPI")
    param_names = ("way",)

    def time_thousand_requests(self, way: str) -> None:
        app: App = bare() if way == "FastAPI" else PerformanceMiddleware(bare())

        async def ask_all() -> None:
            await asyncio.gather(*(app(scope_of("/score"), receive, send) for _ in range(1000)))

        asyncio.run(ask_all())


async def length_of(app: App, scope: Any) -> int:
    """Return how many bytes an answer has."""
    length = 0

    async def count(message: Any) -> None:
        nonlocal length
        length += len(message.get("body", b""))

    await app(scope, receive, count)
    return length


async def longest_stall(app: App) -> tuple[float, float]:
    """Return how many milliseconds the loop was held up at most while an answer is made.

    First by anything, other programs included; second by what its own thread computed.
    """
    worst = [0.0, 0.0]

    async def watch() -> None:
        last = (time.perf_counter(), time.thread_time())
        while True:
            await asyncio.sleep(0)
            now = (time.perf_counter(), time.thread_time())
            for i in range(2):
                worst[i] = max(worst[i], now[i] - last[i])
            last = now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await app(scope_of(accept=b"gzip, br, zstd"), receive, send)
    watching.cancel()
    return worst[0] * 1e3, worst[1] * 1e3


async def handler_runs() -> int:
    """Return how often the handler runs for a thousand identical requests."""
    runs = 0
    app = FastAPI()

    @app.get("/agents", response_model=None)
    async def agents() -> Any:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return AGENTS

    wrapped = PerformanceMiddleware(app)
    await asyncio.gather(*(wrapped(scope_of(), receive, send) for _ in range(1000)))
    return runs


async def mix(app: App, count: int = 2000) -> tuple[float, float]:
    """Return the mean milliseconds and requests per second; every second one asks again."""
    draw = random.Random(1)  # noqa: S311 - the same order for every way
    times = []
    began = time.perf_counter()
    for number in range(count):
        seed = draw.randrange(20) if number % 2 else 1000 + number
        start = time.perf_counter()
        await app(scope_of("/score", b"seed=%d" % seed), receive, send)
        times.append(time.perf_counter() - start)
    return statistics.mean(times) * 1e3, count / (time.perf_counter() - began)


def same_bytes_as(app: App) -> App:
    """Make an application that sends what a hit of another one sends, fields included."""
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    async def hit() -> None:
        await call(app, 1, scope_of)
        await app(scope_of(), receive, keep)

    async def same(_scope: Any, _receive: Any, send: Any) -> None:
        start, body = messages
        await send({**start, "headers": start["headers"].copy()})
        await send({**body})

    asyncio.run(hit())
    return same


def serve(way: str, port: int) -> None:
    """Serve by uvicorn, in a process of its own."""
    import uvicorn  # noqa: PLC0415 - for this row alone

    app: App = PerformanceMiddleware(raw)
    if way == "same bytes":
        app = same_bytes_as(app)
    elif way == "raw":
        app = raw
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


@contextmanager
def server(way: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server and give its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(way, port))
    process.start()
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()


async def ask_again(port: int, connections: int = 50, seconds: float = 1.0) -> int:
    """Ask again and again over connections that are kept; return how often."""
    request = b"GET /agents HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
    until = time.perf_counter() + seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 0
        while time.perf_counter() < until:
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(BODY))
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(ask() for _ in range(connections))))


def rates(port: int, process: psutil.Process) -> tuple[float, float]:
    """Return the requests per second, and per second of the server's processor."""
    cpu, began = sum(process.cpu_times()[:2]), time.perf_counter()
    count = asyncio.run(ask_again(port))
    taken = time.perf_counter() - began
    return count / taken, count / (sum(process.cpu_times()[:2]) - cpu)


async def hits_and_misses() -> None:
    """Print the rows about single requests."""
    hit = PerformanceMiddleware(raw)
    set_up = PerformanceMiddleware(bare())
    times = await compare(
        {
            "raw": (raw, 2000, scope_of),
            "hit": (hit, 2000, scope_of),
            "FastAPI": (bare(), 10, scope_of),
            "fastapi-cache2": (fastapi_cache(), 10, scope_of),
            "hit of FastAPI": (set_up, 2000, scope_of),
        }
    )
    row("cache hit, over sending the same bytes", f"{times['hit'] - times['raw']:.1f} us", "6 us")
    gain = times["FastAPI"] / times["hit of FastAPI"]
    row(f"hit against the {len(BODY):,} B endpoint", f"{gain:.0f} x", "150 x")
    row("  fastapi-cache2 there", f"{times['FastAPI'] / times['fastapi-cache2']:.2f} x", "")
    times = await compare(
        {
            "FastAPI": (bare(), 200, numbered("/small")),
            "miss": (PerformanceMiddleware(bare()), 200, numbered("/small")),
            "base": (base_http(), 200, numbered("/small")),
        }
    )
    over = times["miss"] - times["FastAPI"]
    row("miss, stored, over the bare application", f"{over:.1f} us", "15 us")
    row("  the bare application", f"{times['FastAPI']:.1f} us", "")
    row("  BaseHTTPMiddleware alone", f"{times['base'] - times['FastAPI']:.1f} us", "")


async def compression() -> None:
    """Print the rows about compression."""
    for coding in (b"br", b"zstd", b"gzip"):

        def make_scope(coding: bytes = coding) -> Any:
            return scope_of(accept=coding)

        ours = CompressionMiddleware(raw)
        theirs = starlette_compress(raw)
        stored = PerformanceMiddleware(raw)
        times = await compare(
            {
                "ours": (ours, 50, make_scope),
                "theirs": (theirs, 50, make_scope),
                "stored": (stored, 500, make_scope),
            }
        )
        sizes = [await length_of(app, make_scope()) for app in (ours, theirs)]
        row(
            f"{coding.decode()} of {len(BODY):,} B, to starlette-compress",
            f"{times['ours'] / times['theirs']:.2f} x, {sizes[0]} to {sizes[1]} B",
            "1 x, not larger",
        )
        row("  stored variant", f"{times['stored']:.1f} us", "as a hit")
    config = CompressionConfig(algorithms=["gzip"])
    app = CompressionMiddleware(long_answer, config)
    stalls = [await longest_stall(app) for _ in range(7)]
    without = [await longest_stall(hashing) for _ in range(7)]
    for what, values in (
        (f"loop held up by gzip of {len(LONG) / 2**20:.1f} MiB", stalls),
        ("  while another thread hashes", without),
    ):
        wall, own = (statistics.median(pair[i] for pair in values) for i in range(2))
        row(what, f"{wall:.1f} ms, by itself {own:.1f} ms", "5 ms" if values is stalls else "")
    app.compression.close()


async def together() -> None:
    """Print the rows about many requests."""
    row("handler runs for 1,000 identical requests", str(await handler_runs()), "1")
    cached = PerformanceConfig(cache_config=CacheConfig(max_size=10_000))
    plain, wrapped = [], []
    for _ in range(5):
        plain.append(await mix(bare()))
        wrapped.append(await mix(PerformanceMiddleware(bare(), cached)))
    times = [statistics.median(pair[0] for pair in ways) for ways in (plain, wrapped)]
    rates = [statistics.median(pair[1] for pair in ways) for ways in (plain, wrapped)]
    row("half repeated reads: response time", f"{times[1] / times[0] - 1:+.0%}", "guide: -60%")
    row("half repeated reads: requests per second", f"{rates[1] / rates[0]:.2f} x", "guide: 3.5 x")


def over_uvicorn() -> None:
    """Print the row about a real server."""
    with server("same bytes") as same, server("raw") as bare_body, server("hit") as hit:
        shares: dict[str, list[list[float]]] = {"of the same bytes": [], "of the body alone": []}
        for _ in range(7):
            of_hit = rates(*hit)
            for what, other in zip(shares, (same, bare_body), strict=True):
                shares[what].append([h / r for h, r in zip(of_hit, rates(*other), strict=True)])
    for what, pairs in shares.items():
        wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        row(f"uvicorn, hits to a raw app {what}", f"{wall:.0%}, by processor {cpu:.0%}", "85%")


def row(what: str, measured: str, target: str) -> None:
    """Print one row."""
    sys.stdout.write(f"| {what:<46} | {measured:>26} | {target:>16} |\n")


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{platform.platform()}, CPython {platform.python_version()}\n\n")
    row("what", "measured", "target")
    sys.stdout.write(f"| {'-' * 46} | {'-' * 25}: | {'-' * 15}: |\n")
    asyncio.run(hits_and_misses())
    asyncio.run(compression())
    asyncio.run(together())
    over_uvicorn()


if __name__ == "__main__":
    main()
