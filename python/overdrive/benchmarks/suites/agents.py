"""Agents: steps in batches, states that are saved, and messages."""

import json
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import asyncpg

from overdrive.agents import OptimizationConfig, OptimizedAgentManager
from overdrive.benchmarks.measure import baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.benchmarks.subjects import Believer, Notary, Tracker, believers
from overdrive.database import PostgresStateSink

__all__ = ["agent_batching", "message_passing", "state_synchronization"]

DOCUMENT = b"x" * 200_000


def _managed(agents: Mapping[int, Any], **options: Any) -> OptimizedAgentManager:
    manager = OptimizedAgentManager(OptimizationConfig(), **options)
    for agent_id, agent in agents.items():
        manager.register_agent(agent_id, agent)
    return manager


def _in_loop(agents: Mapping[int, Any], seen: Mapping[int, Any]) -> Any:
    return {i: agents[i].step(observation) for i, observation in seen.items()}


def _in_pool(pool: ThreadPoolExecutor, agents: Mapping[int, Any], seen: Mapping[int, Any]) -> Any:
    futures = {i: pool.submit(agents[i].step, observation) for i, observation in seen.items()}
    return {i: future.result() for i, future in futures.items()}


async def agent_batching(record: Record) -> None:
    """All agents step once: vectorised, of pure Python, and such as release the lock."""
    count = record.plan.size(2_000, 200)
    trackers = {i: Tracker() for i in range(count)}
    notaries = {i: Notary() for i in range(record.plan.size(200, 20))}
    kinds: list[tuple[str, dict[int, Any], dict[int, Any]]] = [
        (f"{count:,} Bayesian filters step", *believers(count)),
        (f"{count:,} Kalman filters of pure Python step", trackers, dict.fromkeys(trackers, 1.5)),
        (
            f"{len(notaries)} notaries hash 200 kB each",
            notaries,
            dict.fromkeys(notaries, DOCUMENT),
        ),
    ]
    _check_batch(record)
    with ThreadPoolExecutor() as pool:
        for what, agents, seen in kinds:
            with _managed(agents) as manager:
                await record.compare(
                    what,
                    ours("OptimizedAgentManager", partial(manager.step_agents, seen)),
                    baseline("ThreadPoolExecutor", partial(_in_pool, pool, agents, seen)),
                    peer("for loop", partial(_in_loop, agents, seen)),
                )


def _check_batch(record: Record) -> None:
    alone, seen = believers(50)
    together, _ = believers(50)
    for _ in range(5):
        one_by_one = [alone[i].step(seen[i]) for i in alone]
        batch = Believer.step_batch(list(together.values()), list(seen.values()))
    record.check(batch == one_by_one, "a batch of steps has other results than the steps")


async def state_synchronization(record: Record) -> None:
    """The states of all agents go to PostgreSQL after they have stepped.

    Both ways count until everything is written.
    """
    count = record.plan.size(1_000, 100)
    dsn = await record.services.fresh_tables()
    agents = {i: Tracker() for i in range(count)}
    seen = dict.fromkeys(agents, 1.5)
    sink = PostgresStateSink(dsn, name="benchmark")
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop table if exists states")
    await connection.execute("create table states (id int primary key, state jsonb not null)")
    upsert = (
        "insert into states values ($1, $2) on conflict (id) do update set state = excluded.state"
    )
    plain = {i: Tracker() for i in range(count)}

    async def one_by_one() -> None:
        for i, observation in seen.items():
            plain[i].step(observation)
            await connection.execute(upsert, i, json.dumps(plain[i].get_state()))

    async def at_once() -> None:
        for i, observation in seen.items():
            plain[i].step(observation)
        states = [(i, json.dumps(agent.get_state())) for i, agent in plain.items()]
        async with connection.transaction():
            await connection.executemany(upsert, states)

    with _managed(agents, sink=sink) as manager:

        def checkpointed() -> None:
            manager.step_agents(seen)
            manager.checkpoint({})
            manager.flush()

        await record.compare(
            f"{count:,} agents step and are saved",
            ours("checkpoint", checkpointed),
            baseline("one statement an agent", one_by_one),
            peer("asyncpg executemany", at_once),
        )
        steps = {agent.steps for agent in agents.values()}
        saved = PostgresStateSink(dsn, name="benchmark")
        found = saved.load()
        saved.close()
        states = found[0].values() if found is not None else ()
        record.check(
            {state["steps"] for state in states} == steps and len(states) == count,
            "what was saved is not what the agents know",
        )
    await connection.close()


class Listener:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def step(self, observation: Any) -> Any:
        """Return the observation."""
        return observation

    def receive(self, _message: Any) -> None:
        """Count a message."""
        self.heard += 1


async def message_passing(record: Record) -> None:
    """One message to each of many agents, and many messages to one of them.

    The baseline has a queue and a thread an agent, as actors of threads have; because threads are
    dear, there are fewer of them than the peer, a thread pool, could serve.
    """
    count, rounds = record.plan.size(100, 20), record.plan.size(20, 5)
    agents = {i: Listener() for i in range(count)}
    threads = _Threads({i: Listener() for i in range(count)})
    pooled = {i: Listener() for i in range(count)}
    with _managed(agents) as manager, ThreadPoolExecutor() as pool, threads:

        def broadcast() -> None:
            for _ in range(rounds):
                manager.broadcast("congestion")
            manager.drain()

        def in_pool() -> None:
            for _ in range(rounds):
                futures = [pool.submit(one.receive, "congestion") for one in pooled.values()]
                for future in futures:
                    future.result()

        await record.compare(
            f"{rounds} messages to each of {count} agents",
            ours("OptimizedAgentManager", broadcast),
            baseline("a queue and a thread an agent", lambda: threads.broadcast(rounds)),
            peer("ThreadPoolExecutor", in_pool),
        )
    turns = record.plan.rounds + 1
    for name, listeners in (("manager", agents), ("threads", threads.agents)):
        heard = {one.heard for one in listeners.values()}
        record.check(heard == {rounds * turns}, f"messages were lost by the {name}: {heard}")


class _Threads:
    """Agents with a thread and a queue each."""

    def __init__(self, agents: dict[int, Listener]) -> None:
        self.agents = agents
        self._queues = {i: queue.SimpleQueue[Any]() for i in agents}
        self._done = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in agents]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._queues.values():
            one.put(None)
        for thread in self._threads:
            thread.join()

    def broadcast(self, rounds: int) -> None:
        for _ in range(rounds):
            for one in self._queues.values():
                one.put("congestion")
        for _ in range(rounds * len(self._queues)):
            self._done.acquire()

    def _run(self, agent_id: int) -> None:
        while (message := self._queues[agent_id].get()) is not None:
            self.agents[agent_id].receive(message)
            self._done.release()
