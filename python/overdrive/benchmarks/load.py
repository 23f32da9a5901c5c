"""Load on a server, and how long answers take.

Latency is measured with requests that come at times of their own, whether or not earlier ones have
been answered, and from the time at which a request was to be sent. A client that waits for an
answer before it sends the next request leaves out just the requests that a slow server would have
kept waiting ("coordinated omission"). Throughput is measured with clients that do wait.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiohttp
import numpy as np

from overdrive.benchmarks.errors import WrongResultError

__all__ = ["Latencies", "Request", "ask", "closed_loop", "open_loop", "session"]

Request = Callable[[int], Awaitable[object]]
"""Sends the request of a number and reads the answer; raises if it is wrong."""

OK = 200


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long requests took, from the time at which each was to be sent.

    Attributes:
        seconds: One value a request.
    """

    seconds: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the time within which so large a share was answered."""
        return float(np.quantile(self.seconds, share))

    def metrics(self) -> dict[str, float]:
        """Return the median and the 99th percentile."""
        return {"p50": self.quantile(0.5), "p99": self.quantile(0.99)}


async def open_loop(request: Request, rate: float, seconds: float, *, seed: int = 0) -> Latencies:
    """Send requests at random times, independent of the answers (a Poisson process).

    Args:
        request: Sends one.
        rate: How many a second, on average.
        seconds: For how long.
        seed: Decides the times.
    """
    lot = random.Random(seed)  # noqa: S311 - times of requests
    tasks: list[asyncio.Task[float]] = []
    began = time.perf_counter()
    due = began + lot.expovariate(rate)
    async with asyncio.TaskGroup() as group:
        while due < began + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(group.create_task(_since(due, request, len(tasks))))
            due += lot.expovariate(rate)
    return Latencies(tuple(task.result() for task in tasks))


async def _since(due: float, request: Request, number: int) -> float:
    await request(number)
    return time.perf_counter() - due


async def closed_loop(request: Request, clients: int, requests: int) -> float:
    """Let clients send one request after the other, and return how many were answered a second.

    Args:
        request: Sends one.
        clients: How many send at a time.
        requests: How many are sent in all.
    """
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            await request(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return requests / (time.perf_counter() - began)


def session() -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """Make a client with as many connections as it needs, which leaves bodies as they come."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=False), auto_decompress=False
    )


async def ask(
    client: aiohttp.ClientSession, url: str, *, encoding: str = "identity", json: object = None
) -> bytes:
    """Send a request, a POST if there is something to send, and return the body as it came."""
    method = "GET" if json is None else "POST"
    async with client.request(
        method, url, json=json, headers={"Accept-Encoding": encoding}
    ) as answer:
        body = await answer.read()
        if answer.status != OK:
            raise WrongResultError(f"{url} was answered with {answer.status}")
        return body
