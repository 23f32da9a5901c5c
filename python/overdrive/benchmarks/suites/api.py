"""The API: answers over HTTP from a server in a process of its own, to a client in this one."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from overdrive.benchmarks.link import slow_link
from overdrive.benchmarks.load import Request, ask, closed_loop, open_loop, session
from overdrive.benchmarks.measure import Metric, Way, baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.benchmarks.served import has

__all__ = ["compression", "concurrent_requests", "response_caching"]

TEAMS = 100
LINK_BYTES = 1_250_000
"""Bytes a second of a link of 10 Mbit/s."""

SHARE = 0.5
"""How much of what the plain application can answer is asked of all."""


def ways_of(ours_is: str, *others: str) -> dict[str, Callable[..., Way]]:
    """Return how to make the way of each application: ours, the baseline, installed peers."""
    plain, *peers = others
    makers = {ours_is: ours, plain: baseline}
    return makers | {name: peer for name in peers if has(name)}


def _teams(client: aiohttp.ClientSession, url: str) -> Request:
    return lambda number: ask(client, f"{url}/teams/{number * 7 % TEAMS}")


async def open_servers(record: Record, stack: AsyncExitStack, names: Sequence[str]) -> list[str]:
    """Start applications on fresh tables and return their addresses."""
    await record.services.fresh_tables()
    return [await record.services.serve(stack, name) for name in names]


async def response_caching(record: Record) -> None:
    """Reads of 100 teams through a database, at half the rate that the plain application takes."""
    makers = ways_of("middleware", "plain", "fastapi-cache2")
    seconds = 1.0 if record.plan.quick else 2.0
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, list(makers))
        await _check_same(record, client, urls)
        rate = SHARE * await closed_loop(_teams(client, urls[1]), 10, record.plan.size(500, 100))
        record.facts["requests a second"] = rate

        def load(url: str) -> Callable[[], Awaitable[Any]]:
            async def run() -> dict[str, float]:
                return (await open_loop(_teams(client, url), rate, seconds)).metrics()

            return run

        ways = [
            make(name, load(url)) for (name, make), url in zip(makers.items(), urls, strict=True)
        ]
        what = "answers of a team at half the load the plain application takes"
        await record.compare_metrics(
            [Metric("p50", f"{what}, median"), Metric("p99", f"{what}, 99th percentile")], *ways
        )


async def _check_same(record: Record, client: aiohttp.ClientSession, urls: Sequence[str]) -> None:
    bodies = {await ask(client, f"{url}/teams/3") for url in urls for _ in range(2)}
    record.check(len(bodies) == 1, "the applications answer differently")


async def compression(record: Record) -> None:
    """Bytes of an answer, and its time over a link of 10 Mbit/s and over none."""
    makers = ways_of("compression", "plain", "GZipMiddleware", "starlette-compress")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, list(makers))

        def size(url: str) -> Callable[[], Awaitable[float]]:
            async def run() -> float:
                return float(len(await ask(client, f"{url}/teams/3", encoding="gzip, br")))

            return run

        def times(url: str, count: int) -> Callable[[], Awaitable[None]]:
            async def run() -> None:
                for number in range(count):
                    await ask(client, f"{url}/teams/{number}", encoding="gzip, br")

            return run

        named = list(zip(makers.items(), urls, strict=True))
        ways = [make(name, size(url)) for (name, make), url in named]
        await record.compare("bytes of the answer of a team", *ways, unit="bytes")
        links = [await stack.enter_async_context(slow_link(url, LINK_BYTES)) for url in urls]
        behind = list(zip(makers.items(), links, strict=True))
        ways = [make(name, times(url, 10)) for (name, make), url in behind]
        await record.compare("10 answers over a link of 10 Mbit/s", *ways)
        ways = [make(name, times(url, 10)) for (name, make), url in named]
        await record.compare("10 answers within the machine", *ways)


async def concurrent_requests(record: Record) -> None:
    """Requests a second of 50 clients that wait for their answers."""
    makers = ways_of("middleware", "plain", "fastapi-cache2")
    requests = record.plan.size(500, 100)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, list(makers))
        for path, what in (("teams", "database"), ("forecast", "computing")):

            def load(url: str, path: str = path) -> Callable[[], Awaitable[float]]:
                def request(number: int) -> Awaitable[bytes]:
                    return ask(client, f"{url}/{path}/{number * 7 % TEAMS}")

                return lambda: closed_loop(request, 50, requests)

            ways = [
                make(name, load(url))
                for (name, make), url in zip(makers.items(), urls, strict=True)
            ]
            await record.compare(
                f"requests of 50 clients, {what}", *ways, unit="requests/s", higher_is_better=True
            )
