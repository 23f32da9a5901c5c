"""The whole system: agents, database and middleware behind one server, and how it grows."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp
import asyncpg

from overdrive.agents import OptimizationConfig, OptimizedAgentManager
from overdrive.benchmarks.load import Request, ask, closed_loop, open_loop, session
from overdrive.benchmarks.measure import Metric, baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.benchmarks.results import Comparison, Series, Table
from overdrive.benchmarks.services import TEAM
from overdrive.benchmarks.stress import Stress
from overdrive.benchmarks.subjects import believers
from overdrive.benchmarks.suites.api import SHARE, open_servers

__all__ = ["full_system_load", "scalability_test", "stress_test"]

OURS, PLAIN = "all of Overdrive", "plain"
BASELINE = "FastAPI, ThreadPoolExecutor, asyncpg"
TEAMS_EACH = 50
"""Teams of each application, so that none changes what another has kept."""

AGENT_COUNTS = (10, 50, 100, 500, 1000)
CLIENT_COUNTS = (1, 10, 50, 100, 200)
"""The sizes of the guide's tables."""


def _mix(client: aiohttp.ClientSession, url: str, first: int) -> Request:
    """Return requests of which every tenth has a team of agents observe and be saved."""

    def request(number: int) -> Awaitable[bytes]:
        team = first + number * 7 % TEAMS_EACH
        address = f"{url}/teams/{team}"
        return ask(client, address, json=_observations(team, number) if number % 10 == 0 else None)

    return request


def _observations(team: int, number: int) -> dict[str, float]:
    return {str(team * TEAM + i): float(number % 50) for i in range(TEAM)}


async def full_system_load(record: Record) -> None:
    """Nine reads of a team for each time that its 100 agents observe something and are saved."""
    seconds = 1.0 if record.plan.quick else 2.0
    requests = record.plan.size(300, 50)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, [OURS, PLAIN])
        mixes = [_mix(client, url, first) for url, first in zip(urls, (0, TEAMS_EACH), strict=True)]
        await record.compare(
            "requests of 20 clients, reads and steps",
            ours(OURS, lambda: closed_loop(mixes[0], 20, requests)),
            baseline(BASELINE, lambda: closed_loop(mixes[1], 20, requests)),
            unit="requests/s",
            higher_is_better=True,
        )
        rate = SHARE * statistics.median(record.comparisons[-1].others[0].values)
        record.facts["requests a second"] = rate

        def load(request: Request) -> Callable[[], Awaitable[dict[str, float]]]:
            async def run() -> dict[str, float]:
                return (await open_loop(request, rate, seconds)).metrics()

            return run

        what = "answers at half the load the plain system takes"
        await record.compare_metrics(
            [Metric("p50", f"{what}, median"), Metric("p99", f"{what}, 99th percentile")],
            ours(OURS, load(mixes[0])),
            baseline(BASELINE, load(mixes[1])),
        )


async def scalability_test(record: Record) -> None:
    """Steps a second of 10 to 1,000 agents, and requests a second of 1 to 200 clients."""
    await _agent_scaling(record)
    await _client_scaling(record)


async def _agent_scaling(record: Record) -> None:
    found = {}
    with ThreadPoolExecutor() as pool:
        for count in AGENT_COUNTS:
            agents, seen = believers(count)
            with OptimizedAgentManager(OptimizationConfig()) as manager:
                for i, agent in agents.items():
                    manager.register_agent(i, agent)
                found[count] = await record.compare(
                    f"{count:,} Bayesian filters",
                    ours(OURS, partial(_rate, partial(manager.step_agents, seen), count)),
                    baseline(
                        "ThreadPoolExecutor",
                        partial(_rate, partial(_steps, pool, agents, seen), count),
                    ),
                    peer("for loop", partial(_rate, partial(_in_loop, agents, seen), count)),
                    unit="steps/s",
                    higher_is_better=True,
                )
    record.tables.append(_table("steps a second by number of agents", "agents", found))


def _rate(work: Callable[[], Any], count: int) -> float:
    """Return the steps a second of at least a thousand steps."""
    times = -(-1000 // count)
    began = time.perf_counter()
    for _ in range(times):
        work()
    return times * count / (time.perf_counter() - began)


def _steps(pool: ThreadPoolExecutor, agents: Mapping[int, Any], seen: Mapping[int, Any]) -> None:
    for future in [pool.submit(agents[i].step, one) for i, one in seen.items()]:
        future.result()


def _in_loop(agents: Mapping[int, Any], seen: Mapping[int, Any]) -> None:
    for i, one in seen.items():
        agents[i].step(one)


async def _client_scaling(record: Record) -> None:
    requests = record.plan.size(400, 100)
    found = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, [OURS, PLAIN])
        mixes = [_mix(client, url, first) for url, first in zip(urls, (0, TEAMS_EACH), strict=True)]
        for clients in CLIENT_COUNTS:

            def load(mix: Request, clients: int = clients) -> Callable[[], Awaitable[float]]:
                return lambda: closed_loop(mix, clients, requests)

            found[clients] = await record.compare(
                f"{clients} clients, reads and steps",
                ours(OURS, load(mixes[0])),
                baseline(BASELINE, load(mixes[1])),
                unit="requests/s",
                higher_is_better=True,
            )
    record.tables.append(_table("requests a second by number of clients", "clients", found))


def _table(what: str, by: str, found: Mapping[int, Comparison]) -> Table:
    first = next(iter(found.values()))
    rows = {
        one.name: tuple(statistics.median(each.series[i].values) for each in found.values())
        for i, one in enumerate(first.series)
    }
    return Table(what, first.unit, by, tuple(map(float, found)), rows)


async def stress_test(record: Record) -> None:
    """All parts at the same time for some seconds, and then a look whether anything was lost."""
    seconds = 3.0 if record.plan.quick else 10.0
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session())
        urls = await open_servers(record, stack, [OURS, PLAIN])
        mixes = [_mix(client, url, first) for url, first in zip(urls, (0, TEAMS_EACH), strict=True)]
        counts = [_Count(mix) for mix in mixes]
        stress = Stress()
        stress.start()
        try:
            record.note(f"everything at once for {seconds:.0f} s")
            until = time.perf_counter() + seconds
            rates: list[tuple[float, float]] = []
            while time.perf_counter() < until:
                rates.append((await counts[0].load(), await counts[1].load()))
        finally:
            record.facts |= await asyncio.to_thread(stress.stop)
        record.comparisons.append(_under_stress(rates))
        await _nothing_is_lost(record, client, urls, [count.posted for count in counts])


class _Count:
    """Counts the observations that were sent, whoever asks."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.sent = 0
        self.posted = 0

    async def load(self) -> float:
        first, self.sent = self.sent, self.sent + 200
        return await closed_loop(lambda number: self._ask(first + number), 20, 200)

    async def _ask(self, number: int) -> None:
        await self._request(number)
        if number % 10 == 0:
            self.posted += TEAM


def _under_stress(rates: list[tuple[float, float]]) -> Comparison:
    mine, plain = zip(*rates, strict=True)
    series = (
        Series(OURS, "ours", mine),
        Series(BASELINE, "baseline", plain),
    )
    return Comparison(
        "requests of 20 clients, the machine busy", "requests/s", series, higher_is_better=True
    )


async def _nothing_is_lost(
    record: Record, client: aiohttp.ClientSession, urls: list[str], posted: list[int]
) -> None:
    connection = await asyncpg.connect(await record.services.dsn())
    try:
        for url, first, sent in zip(urls, (0, TEAMS_EACH), posted, strict=True):
            saved = await connection.fetchval(
                "select sum(observations) from agents where team between $1 and $2",
                first,
                first + TEAMS_EACH - 1,
            )
            record.check(saved == sent, f"{sent} observations were sent and {saved} saved")
            record.facts[f"observations saved, teams from {first}"] = float(saved)
            for team in (first, first + 7):
                await _is_fresh(record, client, connection, f"{url}/teams/{team}", team)
    finally:
        await connection.close()


async def _is_fresh(
    record: Record, client: aiohttp.ClientSession, connection: Any, url: str, team: int
) -> None:
    """Check that an answer, kept or not, is what the database has."""
    answered = {row["id"]: row["observations"] for row in json.loads(await ask(client, url))}
    rows = await connection.fetch("select id, observations from agents where team = $1", team)
    saved = {row["id"]: row["observations"] for row in rows}
    record.check(answered == saved, f"{url} answers what was true before")
