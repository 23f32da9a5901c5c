"""The agent manager."""

import inspect
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

from overdrive.agents.activity import Activity, Counts
from overdrive.agents.config import OptimizationConfig
from overdrive.agents.mailbox import Gathering, Mailbox, Operation
from overdrive.agents.persistence import StateSink, StateWriter
from overdrive.executor import WorkStealingExecutor
from overdrive.registry import ShardedRegistry
from overdrive.sources import announce

__all__ = ["OptimizedAgentManager", "create_optimized_agent_manager"]

_log = logging.getLogger(__name__)

OPERATIONS_PER_TURN = 32
"""After so many operations an agent goes to the end of the queue, so that a busy one is no hog."""

HANDOVER_SECONDS = 0.001 if getattr(sys, "_is_gil_enabled", lambda: True)() else 0.0002
"""Steps that are expected to take less than this in all are not spread over threads."""

K = TypeVar("K", bound=Hashable)
Pair = tuple[Mailbox, Any]


def _figures(manager: "OptimizedAgentManager") -> dict[str, float]:
    return {"registered": len(manager), "pending": manager._activity.pieces}


def _step(agent: Any, observation: Any) -> Any:
    return agent.step(observation)


def _step_batch(agents: Sequence[Any], observations: Sequence[Any]) -> list[Any]:
    kind = type(agents[0])
    results = list(kind.step_batch(agents, observations))
    if len(results) != len(agents):
        raise ValueError(
            f"{kind.__name__}.step_batch returned {len(results)} results for {len(agents)} agents"
        )
    return results


def _receive(agent: Any, message: Any) -> Any:
    return agent.receive(message)


def _get_state(agent: Any, _: None) -> Any:
    return agent.get_state()


def _set_state(agent: Any, state: Any) -> None:
    agent.set_state(state)


class OptimizedAgentManager:
    """Steps agents, delivers their messages and saves their states.

    An agent is any object with a method `step(observation)`. It may also have

    - `receive(message)`, called with each message sent to it;
    - a class method `step_batch(agents, observations)`, called instead of `step` with the agents of
      that class which are stepped together and their observations, two sequences of equal length;
      it returns their results in the same order;
    - `get_state()` and `set_state(state)`, for a state that is a JSON object. It is written by
      another thread, so `get_state` must return one that the agent does not change later on.

    One agent does one thing at a time, in the order in which the operations were asked for;
    different agents run concurrently. All methods may be called from any thread; those that wait
    must not be called from inside an agent's own operation, and raise `RuntimeError` there. A
    `KeyboardInterrupt` inside a call leaves the manager usable. After `os.fork()` the child has the
    agents as they are at that moment; what was asked of them, and of the sink, is the parent's.

    Args:
        config: Options, checked again and copied; by default those of `OptimizationConfig()`.
        sink: Where `checkpoint` saves states. It is closed by `shutdown`.
    """

    def __init__(
        self, config: OptimizationConfig | None = None, *, sink: StateSink | None = None
    ) -> None:
        self.config = replace(config) if config else OptimizationConfig()
        self._mailboxes: ShardedRegistry[Hashable, Mailbox] = ShardedRegistry(
            self.config.num_shards
        )
        self._executor = WorkStealingExecutor(self.config.max_workers, "overdrive-agents")
        self._activity = Activity()
        self._topics: dict[Hashable, dict[Hashable, None]] = defaultdict(dict)
        # Reentrant because a topic's `__eq__` may be anything.
        self._topics_lock = threading.RLock()
        self._changed: list[Mailbox] = []
        self._changed_lock = threading.Lock()
        self._sink = sink
        self._writer = StateWriter(sink) if sink is not None else None
        self._counts = Counts()
        self._closed = False
        _managers.add(self)
        self._counts.feed = announce("agents", self, _figures)

    def __enter__(self) -> Self:
        """Return the manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Shut down, saving what was checkpointed."""
        self.shutdown()

    def __len__(self) -> int:
        """Count the registered agents."""
        return len(self._mailboxes)

    def register_agent(self, agent_id: Hashable, agent: Any) -> bool:
        """Add an agent.

        Returns:
            `False` if the id is taken; it keeps its first agent.

        Raises:
            TypeError: If the agent has no plain method `step`.
        """
        step = getattr(agent, "step", None)
        if not callable(step) or inspect.iscoroutinefunction(step):
            raise TypeError(f"an agent needs a plain method step(observation), got {agent!r}")
        return self._mailboxes.register(agent_id, Mailbox(agent_id, agent))

    def unregister_agent(self, agent_id: Hashable) -> Any | None:
        """Remove an agent and return it; `None` if there is none.

        What was asked of it before is still done.
        """
        mailbox = self._mailboxes.remove(agent_id)
        if mailbox is None:
            return None
        with self._topics_lock:
            for subscribers in self._topics.values():
                subscribers.pop(agent_id, None)
        return mailbox.agent

    def get_agent(self, agent_id: Hashable) -> Any | None:
        """Return an agent; `None` if there is none."""
        mailbox = self._mailboxes.get(agent_id)
        return None if mailbox is None else mailbox.agent

    def agent_ids(self) -> list[Hashable]:
        """Return the ids of all agents, as they were at one moment."""
        return self._mailboxes.get_agent_ids()

    def step_agent(self, agent_id: Hashable, observation: Any) -> Any:
        """Step one agent and return its result.

        Raises:
            KeyError: If there is no such agent.
            Exception: Whatever the agent raises.
        """
        result = self.step_agents({agent_id: observation})[agent_id]
        if isinstance(result, BaseException):
            raise result
        return result

    def step_agents(self, observations: Mapping[K, Any]) -> dict[K, Any]:
        """Step each agent with its observation, and wait for all.

        Returns:
            By agent what `step` returned, or the exception it raised; a `KeyError` for an agent
            that does not exist.
        """
        missing: dict[K, Any] = {}
        pairs: list[Pair] = []
        find = self._mailboxes.get
        for agent_id, observation in observations.items():
            mailbox = find(agent_id)
            if mailbox is None:
                missing[agent_id] = KeyError(agent_id)
            else:
                pairs.append((mailbox, observation))
        results: dict[Any, Any] = self._perform(_step, pairs)
        return missing | results

    def send(self, recipient: Hashable, message: Any, *, sender: Hashable | None = None) -> bool:
        """Have a message delivered to one agent, after what was asked of it before.

        Args:
            recipient: Id of the agent, which needs a method `receive`.
            message: Anything; it is not copied.
            sender: Who sends it, for the log.

        Returns:
            `False` if there is no such agent; the message is then counted as a dead letter.
        """
        return self._post([recipient], message, sender) == 1

    def subscribe(self, agent_id: Hashable, topic: Hashable) -> None:
        """Let an agent receive what is broadcast on a topic.

        Raises:
            KeyError: If there is no such agent.
        """
        if agent_id not in self._mailboxes:
            raise KeyError(agent_id)
        with self._topics_lock:
            self._topics[topic][agent_id] = None

    def unsubscribe(self, agent_id: Hashable, topic: Hashable) -> None:
        """Undo `subscribe`; without a subscription nothing happens."""
        with self._topics_lock:
            self._topics.get(topic, {}).pop(agent_id, None)

    def broadcast(
        self, message: Any, *, topic: Hashable | None = None, sender: Hashable | None = None
    ) -> int:
        """Have a message delivered to all subscribers of a topic, or to all agents.

        The sender itself does not receive it. Returns the number of recipients.
        """
        if topic is None:
            recipients = self._mailboxes.get_agent_ids()
        else:
            with self._topics_lock:
                recipients = list(self._topics.get(topic, ()))
        return self._post([r for r in recipients if r != sender], message, sender)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until no operation and no message is pending.

        Raises:
            TimeoutError: After `timeout` seconds.
        """
        self._refuse_inside_an_operation()
        self._activity.wait(timeout, self._executor.help)

    def checkpoint(self, marker: Mapping[str, Any]) -> int:
        """Drain, and hand the states of all agents that did something to the sink's thread.

        Agents without `get_state` are left out. The states are those of one moment if nobody else
        steps agents meanwhile. The call waits while several earlier checkpoints are not saved yet.

        Args:
            marker: A JSON object that is saved in the same transaction.

        Returns:
            The number of states.

        Raises:
            ValueError: If the manager has no sink, or two of the ids are the same as text.
            Exception: What the sink raised for an earlier checkpoint, or what an agent's
                `get_state` raised. The states of both are part of the next checkpoint.
        """
        if self._writer is None:
            raise ValueError("checkpoint needs a manager with a sink, got sink=None")
        self.drain()
        with self._changed_lock:
            changed, self._changed = self._changed, []
            for mailbox in changed:
                mailbox.changed = False
        try:
            states = self._states(changed)
            self._writer.put(states, marker)
        except BaseException:
            for mailbox in changed:
                self._note_change(mailbox)
            raise
        return len(states)

    def _states(self, mailboxes: Sequence[Mailbox]) -> dict[str, Any]:
        """Ask agents for their states; of several that had one id in turn, only the last."""
        latest = {m.agent_id: m for m in mailboxes if hasattr(m.agent, "get_state")}
        states = self._perform(_get_state, [(m, None) for m in latest.values()], changes=False)
        _raise_first(states)
        by_text = {str(agent_id): state for agent_id, state in states.items()}
        if len(by_text) < len(states):
            raise ValueError("agents whose ids are the same as text cannot be told apart")
        return by_text

    def flush(self) -> None:
        """Wait until every checkpoint is saved.

        Raises:
            Exception: What the sink raised; the states are kept and tried again.
        """
        if self._writer is not None:
            self._writer.flush()

    def restore(self) -> dict[str, Any] | None:
        """Give the registered agents the states of the last checkpoint.

        Returns:
            The marker of that checkpoint; `None` if there is none.

        Raises:
            ValueError: If the manager has no sink.
            Exception: What the sink or an agent's `set_state` raised.
        """
        if self._sink is None:
            raise ValueError("restore needs a manager with a sink, got sink=None")
        self.flush()
        saved = self._sink.load()
        if saved is None:
            return None
        states, marker = saved
        found = [(self._mailboxes.get(agent_id), agent_id) for agent_id in self.agent_ids()]
        pairs = [(m, states[str(i)]) for m, i in found if m is not None and str(i) in states]
        _raise_first(self._perform(_set_state, pairs, changes=False))
        return marker

    def shutdown(self, wait: bool = True) -> None:
        """Finish what was asked for, save the checkpoints, and end all threads.

        A second call does nothing. What is asked of the manager afterwards raises `RuntimeError`.

        Args:
            wait: Wait for operations that are still pending. They are done in any case, but may not
                send any more messages.

        Raises:
            Exception: What the sink raised; another call tries again.
        """
        if wait:
            self.drain()
        self._closed = True
        self._executor.shutdown(wait=wait)
        if self._writer is not None:
            self._writer.close()

    def get_statistics(self) -> dict[str, Any]:
        """Count what was done since the start.

        Returns:
            `agents_processed` (steps), `batches_processed` and `avg_batch_size` (agents that a
            thread was handed at a time), `avg_processing_time_ms` (per step, measured over whole
            batches), `messages_sent`, `dead_letters`, `failures` (operations that raised),
            `states_saved`, `batch_queue_size`, `thread_pool` (see `WorkStealingExecutor.stats`) and
            `agent_registry` (`size`, `num_shards`).
        """
        pool = self._executor.get_stats()
        return {
            **self._counts.summary(),
            "states_saved": self._writer.saved if self._writer is not None else 0,
            "batch_queue_size": pool["queued"],
            "thread_pool": pool,
            "agent_registry": {"size": len(self), "num_shards": self._mailboxes.num_shards},
        }

    def _perform(
        self, function: Callable[[Any, Any], Any], pairs: Sequence[Pair], *, changes: bool = True
    ) -> dict[Hashable, Any]:
        """Do one operation with each of several agents, and wait for the results."""
        self._refuse_inside_an_operation()
        self._refuse_after_shutdown()
        gathering = Gathering(len(pairs))
        together: dict[type, list[Pair]] = defaultdict(list)
        single: list[Pair] = []
        waiting: list[Mailbox] = []
        stepping = function is _step
        try:
            for pair in pairs:
                mailbox, argument = pair
                if not mailbox.claim():
                    if mailbox.offer(Operation(function, argument, gathering)):
                        waiting.append(mailbox)
                elif stepping and mailbox.kind is not None:
                    together[mailbox.kind].append(pair)
                else:
                    single.append(pair)
                if changes and not mailbox.changed:
                    self._note_change(mailbox)
        except BaseException:
            self._schedule(waiting)
            self._release(mailbox for mailbox, _ in itertools.chain(single, *together.values()))
            raise
        size = self.config.batch_size
        work: list[Callable[[], None]] = [
            *(partial(self._step_together, batch, gathering) for batch in together.values()),
            *(
                partial(self._run_claimed, single[i : i + size], function, gathering)
                for i in range(0, len(single), size)
            ),
        ]
        self._schedule(waiting)
        self._run(work, len(pairs))
        gathering.wait()
        return gathering.results

    def _run(self, work: list[Callable[[], None]], agents: int) -> None:
        """Have pieces of work done, the last of them by this thread, which would only wait.

        What takes less time than waking another thread is all done here, as long as it does.
        """
        began = time.perf_counter()
        alone = self._counts.pace * agents < HANDOVER_SECONDS
        try:
            while work:
                if not alone:
                    while len(work) > 1:
                        self._submit(work.pop())
                self._activity.enter()
                self._do(work.pop())
                alone = alone and time.perf_counter() - began < HANDOVER_SECONDS
        except BaseException:
            for piece in work:
                self._submit(piece)
            raise

    def _submit(self, piece: Callable[[], None]) -> None:
        """Have a piece of work done; by this thread if the executor is closed, so none is lost."""
        self._activity.enter()
        try:
            self._executor.submit(self._do, piece)
        except BaseException as error:
            if self._closed and isinstance(error, RuntimeError):
                self._do(piece)
                return
            self._activity.leave()
            raise

    def _do(self, piece: Callable[[], None]) -> None:
        outside = not getattr(_here, "inside", False)
        _here.inside = True
        try:
            piece()
        finally:
            _here.inside = not outside
            self._activity.leave()

    def _step_together(self, batch: list[Pair], gathering: Gathering) -> None:
        """Step claimed agents of one class with one call of its `step_batch`."""
        began = time.perf_counter()
        agents = [mailbox.agent for mailbox, _ in batch]
        ids = [mailbox.agent_id for mailbox, _ in batch]
        failed = True
        results: list[Any] = []
        try:
            results = _step_batch(agents, [argument for _, argument in batch])
            failed = False
        except Exception as error:  # noqa: BLE001 - each agent's result is the exception
            results = [error] * len(agents)
        finally:
            self._counts.add(len(agents), time.perf_counter() - began, len(agents) * failed)
            gathering.add(dict(zip(ids, results or [_interrupted()] * len(ids), strict=True)))
            self._release(mailbox for mailbox, _ in batch)

    def _run_claimed(
        self, batch: list[Pair], function: Callable[[Any, Any], Any], gathering: Gathering
    ) -> None:
        """Do an operation with each of some claimed agents."""
        began = time.perf_counter()
        results: dict[Hashable, Any] = {}
        failures = 0
        try:
            for mailbox, argument in batch:
                try:
                    results[mailbox.agent_id] = function(mailbox.agent, argument)
                except Exception as error:  # noqa: BLE001 - the agent's result is the exception
                    results[mailbox.agent_id] = error
                    failures += 1
        finally:
            for mailbox, _ in batch[len(results) :]:
                results[mailbox.agent_id] = _interrupted()
            if function is _step:
                self._counts.add(len(batch), time.perf_counter() - began, failures)
            gathering.add(results)
            self._release(mailbox for mailbox, _ in batch)

    def _release(self, mailboxes: Iterable[Mailbox]) -> None:
        """Let go of claimed agents, and see to what was asked of them meanwhile."""
        self._schedule([mailbox for mailbox in mailboxes if not mailbox.rest()])

    def _schedule(self, mailboxes: Sequence[Mailbox]) -> None:
        """Have turns taken with owned agents, several by one piece of work."""
        size = self.config.batch_size
        for i in range(0, len(mailboxes), size):
            self._submit(partial(self._take_turns, mailboxes[i : i + size]))

    def _take_turns(self, mailboxes: Sequence[Mailbox]) -> None:
        done = 0
        try:
            for mailbox in mailboxes:
                done += 1
                self._take_turn(mailbox)
        finally:
            self._schedule(mailboxes[done:])

    def _take_turn(self, mailbox: Mailbox) -> None:
        """Do the next operations of an owned agent."""
        idle = False
        try:
            for _ in itertools.count() if self._closed else range(OPERATIONS_PER_TURN):
                operation = mailbox.take()
                if operation is None:
                    idle = True
                    return
                self._do_operation(mailbox, operation)
        finally:
            if not idle:
                self._schedule([mailbox])

    def _do_operation(self, mailbox: Mailbox, operation: Operation) -> None:
        began = time.perf_counter()
        failures = 0
        result: Any = _interrupted()
        try:
            result = operation.function(mailbox.agent, operation.argument)
        except Exception as error:  # noqa: BLE001 - reported to who waits, or to the log
            result = error
            failures = 1
            if operation.gathering is None:
                _log.exception("agent %r failed in receive", mailbox.agent_id)
        finally:
            if operation.function is _step:
                self._counts.add(1, time.perf_counter() - began, failures)
            elif failures:
                self._counts.fail(failures)
            if operation.gathering is not None:
                operation.gathering.add({mailbox.agent_id: result})

    def _post(self, recipients: Sequence[Hashable], message: Any, sender: Hashable | None) -> int:
        """Offer a message to each recipient, and have the idle ones take turns."""
        self._refuse_after_shutdown()
        operation = Operation(_receive, message, None)
        waking: list[Mailbox] = []
        reached = 0
        for agent_id in recipients:
            mailbox = self._mailboxes.get(agent_id)
            if mailbox is None:
                _log.warning("no agent %r for a message from %r", agent_id, sender)
                continue
            reached += 1
            if mailbox.offer(operation):
                waking.append(mailbox)
            self._note_change(mailbox)
        self._counts.send(reached, len(recipients) - reached)
        self._schedule(waking)
        return reached

    def _note_change(self, mailbox: Mailbox) -> None:
        if self._writer is None or mailbox.changed:
            return
        with self._changed_lock:
            if not mailbox.changed:
                mailbox.changed = True
                self._changed.append(mailbox)

    def _renew_after_fork(self) -> None:
        """Forget what the threads of the parent were doing, and any lock they held."""
        self._activity = Activity()
        self._counts.renew()
        self._topics_lock = threading.RLock()
        self._changed_lock = threading.Lock()
        for mailbox in self._mailboxes.values():
            mailbox.renew()
        if self._writer is not None:
            self._writer.renew()

    def _refuse_inside_an_operation(self) -> None:
        if getattr(_here, "inside", False):
            raise RuntimeError(
                "this call waits for agents and was made inside an agent's operation, "
                "where it could wait for itself; use send or broadcast there"
            )

    def _refuse_after_shutdown(self) -> None:
        if self._closed:
            raise RuntimeError("the agent manager is shut down")


def create_optimized_agent_manager(
    config: OptimizationConfig | None = None, *, sink: StateSink | None = None
) -> OptimizedAgentManager:
    """Make an agent manager; the same as calling `OptimizedAgentManager`."""
    return OptimizedAgentManager(config, sink=sink)


_here = threading.local()


_managers: weakref.WeakSet[OptimizedAgentManager] = weakref.WeakSet()


def _renew_all_after_fork() -> None:
    for manager in list(_managers):
        manager._renew_after_fork()


# Registered after the executor's own, which comes first then.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all_after_fork)


def _interrupted() -> RuntimeError:
    return RuntimeError("the operation was interrupted")


def _raise_first(results: Mapping[Hashable, Any]) -> None:
    """Raise the first exception among the results of an operation."""
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
