"""Three ways to step the same agents: the manager, a `for` loop, and a plain thread pool."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from overdrive.agents import OptimizationConfig, OptimizedAgentManager, StateSink
from overdrive.demo.agents import Congestion, DelayAgent, Fleet
from overdrive.demo.forecast import Estimate
from overdrive.demo.timeline import Observation, Timeline

__all__ = ["Loop", "Managed", "Pool", "Way"]

Marker = Mapping[str, Any]


class Way(Protocol):
    """How agents are stepped, get their messages and have their states saved."""

    label: str
    """Its name in the table."""

    @property
    def messages(self) -> int:
        """Messages delivered so far."""

    @property
    def saved(self) -> int:
        """States saved so far, not counting those that are on their way."""

    def step(self, observations: Mapping[str, Observation]) -> Mapping[str, Estimate]:
        """Step the agents of one hour, and deliver what they told each other."""

    def checkpoint(self, marker: Marker) -> None:
        """Have the states saved of all agents that changed."""

    def restore(self) -> Marker | None:
        """Go back to the last checkpoint; `None` if there is none."""

    def finish(self) -> None:
        """Wait until everything is saved, and end all threads."""


class Managed:
    """The agents in an `OptimizedAgentManager`.

    Args:
        timeline: Says which agents there are.
        sink: Where their states are saved; closed by `finish`.
    """

    label = "Overdrive"

    def __init__(self, timeline: Timeline, sink: StateSink) -> None:
        self._manager = manager = OptimizedAgentManager(OptimizationConfig(), sink=sink)

        def announce(message: Congestion, topic: str) -> int:
            return manager.broadcast(message, topic=topic, sender=topic)

        fleet = Fleet(timeline, announce)
        for agent in fleet.agents:
            manager.register_agent(agent.name, agent)
        for topic, listeners in fleet.routes.items():
            for listener in listeners:
                manager.subscribe(listener, topic)

    @property
    def messages(self) -> int:
        """Messages delivered so far."""
        return int(self._manager.get_statistics()["messages_sent"])

    @property
    def saved(self) -> int:
        """States saved so far."""
        return int(self._manager.get_statistics()["states_saved"])

    def step(self, observations: Mapping[str, Observation]) -> Mapping[str, Estimate]:
        """Step the agents together, and wait for the messages of their hour."""
        results = self._manager.step_agents(observations)
        for result in results.values():
            if isinstance(result, BaseException):
                raise result
        self._manager.drain()
        return results

    def checkpoint(self, marker: Marker) -> None:
        """Hand the changed states over to the thread that writes."""
        self._manager.checkpoint(marker)

    def restore(self) -> Marker | None:
        """Give the agents the states of the last checkpoint."""
        return self._manager.restore()

    def finish(self) -> None:
        """Wait for the thread that writes."""
        self._manager.shutdown()


class Loop:
    """The agents in a dictionary, stepped one after another, saved in between.

    Args:
        timeline: Says which agents there are.
        sink: Where their states are saved; closed by `finish`.
    """

    label = "for loop"

    def __init__(self, timeline: Timeline, sink: StateSink) -> None:
        self._sink = sink
        self._mail: list[tuple[Congestion, str]] = []
        self._fleet = Fleet(timeline, lambda message, topic: self._mail.append((message, topic)))
        self._agents = {agent.name: agent for agent in self._fleet.agents}
        self._changed: dict[str, DelayAgent] = {}
        self.messages = 0
        self.saved = 0

    def step(self, observations: Mapping[str, Observation]) -> Mapping[str, Estimate]:
        """Step one agent after another, then deliver the mail."""
        agents = [self._agents[name] for name in observations]
        results = self._step_all(agents, list(observations.values()))
        self._changed.update(zip(observations, agents, strict=True))
        for message, topic in self._mail:
            for listener in self._fleet.routes[topic]:
                self._agents[listener].receive(message)
                self._changed[listener] = self._agents[listener]
                self.messages += 1
        self._mail.clear()
        return dict(zip(observations, results, strict=True))

    def _step_all(
        self, agents: Sequence[DelayAgent], observations: Sequence[Observation]
    ) -> list[Estimate]:
        return [a.step(observation) for a, observation in zip(agents, observations, strict=True)]

    def checkpoint(self, marker: Marker) -> None:
        """Save the changed states, and wait for it."""
        states = {name: agent.get_state() for name, agent in self._changed.items()}
        self._sink.save(states, marker)
        self.saved += len(states)
        self._changed.clear()

    def restore(self) -> Marker | None:
        """Give the agents the states of the last checkpoint."""
        saved = self._sink.load()
        if saved is None:
            return None
        for name, state in saved[0].items():
            self._agents[name].set_state(state)
        return saved[1]

    def finish(self) -> None:
        """Close the sink."""
        self._sink.close()


class Pool(Loop):
    """The same with the agents of each hour mapped over a `ThreadPoolExecutor`."""

    label = "ThreadPoolExecutor"

    def __init__(self, timeline: Timeline, sink: StateSink) -> None:
        super().__init__(timeline, sink)
        self._pool = ThreadPoolExecutor()

    def _step_all(
        self, agents: Sequence[DelayAgent], observations: Sequence[Observation]
    ) -> list[Estimate]:
        return list(self._pool.map(_step, agents, observations))

    def finish(self) -> None:
        """End the threads and close the sink."""
        self._pool.shutdown()
        super().finish()


def _step(agent: DelayAgent, observation: Observation) -> Estimate:
    return agent.step(observation)
