"""Latency counts from when a request was due, and the slow link is as slow as it says."""

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from overdrive.benchmarks.errors import WrongResultError
from overdrive.benchmarks.link import slow_link
from overdrive.benchmarks.load import ask, closed_loop, open_loop, session


def test_requests_that_a_stall_keeps_waiting_are_counted_with_their_wait():
    """A server that answers at once but stands still for a while delays all that came meanwhile."""
    stall, rate, seconds = 0.3, 200.0, 1.0

    async def measure():
        lock = asyncio.Lock()

        async def request(number):
            async with lock:
                if number == 20:
                    await asyncio.sleep(stall)

        return await open_loop(request, rate, seconds)

    found = asyncio.run(measure())
    late = [one for one in found.seconds if one > stall / 3]
    # A client that waits for each answer would have seen one slow request of about 200.
    assert len(late) > 10
    assert found.quantile(0.99) > stall / 2
    assert found.metrics() == {"p50": found.quantile(0.5), "p99": found.quantile(0.99)}


def test_requests_come_at_the_same_times_for_one_seed():
    async def numbers(seed):
        asked = []

        async def request(number):
            asked.append(number)

        await open_loop(request, 500.0, 0.1, seed=seed)
        return asked

    first, again = asyncio.run(numbers(1)), asyncio.run(numbers(1))
    assert first == again == list(range(len(first)))
    assert 25 <= len(first) <= 90


def test_a_request_that_fails_fails_the_load():
    async def request(number):
        if number == 5:
            raise WrongResultError("no")

    with pytest.raises(ExceptionGroup):
        asyncio.run(open_loop(request, 1000.0, 0.1))
    with pytest.raises(ExceptionGroup):
        asyncio.run(closed_loop(request, 3, 10))


def test_every_request_of_waiting_clients_is_sent_once():
    asked = []

    async def request(number):
        asked.append(number)
        await asyncio.sleep(0)

    assert asyncio.run(closed_loop(request, 7, 100)) > 0
    assert sorted(asked) == list(range(100))


async def served(test):
    async def large(_):
        return web.Response(body=b"x" * 50_000)

    async def missing(_):
        return web.Response(status=404)

    app = web.Application()
    app.add_routes([web.get("/large", large), web.get("/missing", missing)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        async with session() as client:
            return await test(client, f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


def test_an_answer_that_is_none_is_an_error():
    async def test(client, url):
        assert len(await ask(client, f"{url}/large")) == 50_000
        with pytest.raises(WrongResultError, match="/missing was answered with 404"):
            await ask(client, f"{url}/missing")

    asyncio.run(served(test))


def test_a_slow_link_takes_at_least_the_time_of_its_rate():
    async def test(client, url):
        async with slow_link(url, 250_000) as far:
            began = time.perf_counter()
            body = await ask(client, f"{far}/large")
            return len(body), time.perf_counter() - began

    length, seconds = asyncio.run(served(test))
    assert length == 50_000
    assert seconds >= 0.2


def test_a_client_leaves_bodies_as_they_come():
    async def run():
        async with session() as client:
            assert isinstance(client, aiohttp.ClientSession)
            assert client.auto_decompress is False

    asyncio.run(run())
