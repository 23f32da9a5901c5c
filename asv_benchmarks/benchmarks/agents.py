"""The agent manager beside a `for` loop and a `ThreadPoolExecutor`."""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from overdrive.agents import OptimizationConfig, OptimizedAgentManager

WORKERS = 4


class Agent(Protocol):
    """What all ways step."""

    def step(self, observation: Any) -> Any:
        """Learn from an observation."""

    def receive(self, message: Any) -> None:
        """Take a message."""


class Tracker:
    """A Kalman filter of one dimension: pure Python, which holds the lock."""

    def __init__(self) -> None:
        self.mean, self.variance = 0.0, 100.0
        self.heard: deque[Any] = deque(maxlen=8)

    def step(self, observation: float) -> float:
        """Update the belief and return it."""
        predicted = self.variance + 0.1
        gain = predicted / (predicted + 4.0)
        self.mean += gain * (observation - self.mean)
        self.variance = (1.0 - gain) * predicted
        return self.mean

    def receive(self, message: Any) -> None:
        """Keep the last messages."""
        self.heard.append(message)


class Notary(Tracker):
    """Chains hashes of documents: nearly all of its time is spent without the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = b""

    def step(self, observation: bytes) -> bytes:  # type: ignore[override]
        """Hash a document together with what came before."""
        self.chain = hashlib.sha256(observation + self.chain).digest()
        return self.chain


class Loop:
    """A dictionary and a `for` loop."""

    def __init__(self, agents: dict[int, Agent]) -> None:
        self.agents = agents

    def step_agents(self, observations: dict[int, Any]) -> dict[int, Any]:
        """Step one agent after the other."""
        return {i: self.agents[i].step(seen) for i, seen in observations.items()}

    def broadcast(self, message: Any) -> None:
        """Give a message to each agent."""
        for agent in self.agents.values():
            agent.receive(message)

    def drain(self) -> None:
        """Do nothing: all is done."""

    def shutdown(self) -> None:
        """Do nothing: there is no thread."""


class Pool(Loop):
    """A call in a thread pool for each step."""

    def __init__(self, agents: dict[int, Agent]) -> None:
        super().__init__(agents)
        self.pool = ThreadPoolExecutor(WORKERS)

    def step_agents(self, observations: dict[int, Any]) -> dict[int, Any]:
        """Step agents in the pool."""
        futures = {i: self.pool.submit(self.agents[i].step, o) for i, o in observations.items()}
        return {i: future.result() for i, future in futures.items()}

    def broadcast(self, message: Any) -> None:
        """Give a message to each agent, in the pool."""
        for future in [self.pool.submit(a.receive, message) for a in self.agents.values()]:
            future.result()

    def shutdown(self) -> None:
        """End the threads."""
        self.pool.shutdown()


def managed(agents: dict[int, Agent]) -> OptimizedAgentManager:
    """Make a manager of the agents."""
    manager = OptimizedAgentManager(OptimizationConfig(max_workers=WORKERS))
    for agent_id, agent in agents.items():
        manager.register_agent(agent_id, agent)
    return manager


WAYS: dict[str, Callable[[dict[int, Agent]], Any]] = {
    "OptimizedAgentManager": managed,
    "for loop": Loop,
    "ThreadPoolExecutor": Pool,
}
KINDS: dict[str, tuple[type[Tracker], int, Any]] = {
    "4,000 trackers": (Tracker, 4_000, 1.5),
    "200 notaries": (Notary, 200, b"x" * 200_000),
}


class Steps:
    """The time until every agent has done one thing."""

    param_names = ("way", "agents")
    params = (list(WAYS), list(KINDS))

    def setup(self, way: str, agents: str) -> None:
        """Make the agents and step them once, so that threads are there."""
        kind, count, observation = KINDS[agents]
        self.manager = WAYS[way]({i: kind() for i in range(count)})
        self.observations = dict.fromkeys(range(count), observation)
        self.manager.step_agents(self.observations)

    def teardown(self, _way: str, _agents: str) -> None:
        """End the threads."""
        self.manager.shutdown()

    def time_step_all(self, _way: str, _agents: str) -> None:
        """Step every agent once."""
        self.manager.step_agents(self.observations)

    def time_broadcast(self, _way: str, _agents: str) -> None:
        """Deliver a message to every agent."""
        self.manager.broadcast("congestion")
        self.manager.drain()
