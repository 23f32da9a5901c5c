"""The agent manager."""

import inspect
import logging
import math
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from overdrive.agents.config import OptimizationConfig
from overdrive.agents.mailbox import Gathering, Mailbox, Operation
from overdrive.agents.persistence import StateSink, StateWriter
from overdrive.executor import WorkStealingExecutor
from overdrive.registry import ShardedRegistry

__all__ = ["OptimizedAgentManager", "create_optimized_agent_manager"]

_log = logging.getLogger(__name__)

OPERATIONS_PER_TURN = 32
"""After so many operations an agent goes to the end of the queue, so that a busy one is no hog."""

HANDOVER_SECONDS = 0.001 if getattr(sys, "_is_gil_enabled", lambda: True)() else 0.0002
"""Steps that are expected to take less than this in all are not spread over threads."""

K = TypeVar("K", bound=Hashable)
Pair = tuple[Mailbox, Any]


def _step(agent: Any, observation: Any) -> Any:
    return agent.step(observation)


def _step_batch(agents: Sequence[Any], observations: Sequence[Any]) -> Sequence[Any]:
    kind = type(agents[0])
    results: Sequence[Any] = kind.step_batch(agents, observations)
    if len(results) != len(agents):
        raise ValueError(
            f"{kind.__name__}.step_batch returned {len(results)} results for {len(agents)} agents"
        )
    return results


def _receive(agent: Any, message: Any) -> Any:
    return agent.receive(message)


def _get_state(agent: Any, _: None) -> Any:
    return agent.get_state()


class OptimizedAgentManager:
    """Steps agents, delivers their messages and saves their states.

    An agent is any object with a method `step(observation)`. It may also have

    - `receive(message)`, called with each message sent to it;
    - a class method `step_batch(agents, observations)`, called instead of `step` with the agents of
      that class which are stepped together and their observations, two sequences of equal length;
      it returns their results in the same order;
    - `get_state()` and `set_state(state)`, for a state that is a JSON object.

    One agent does one thing at a time, in the order in which the operations were asked for;
    different agents run concurrently. All methods may be called from any thread; those that wait
    must not be called from inside an agent's own operation, and raise `RuntimeError` there.

    Args:
        config: Options; by default those of `OptimizationConfig()`.
        sink: Where `checkpoint` saves states. It is closed by `shutdown`.
    """

    def __init__(
        self, config: OptimizationConfig | None = None, *, sink: StateSink | None = None
    ) -> None:
        self.config = config or OptimizationConfig()
        self._mailboxes: ShardedRegistry[Hashable, Mailbox] = ShardedRegistry(
            self.config.num_shards
        )
        self._executor = WorkStealingExecutor(self.config.max_workers, "overdrive-agents")
        self._activity = _Activity()
        self._topics: dict[Hashable, dict[Hashable, None]] = defaultdict(dict)
        self._topics_lock = threading.Lock()
        self._changed: list[Mailbox] = []
        self._sink = sink
        self._writer = StateWriter(sink) if sink is not None else None
        self._counts = _Counts()

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
            self._topics[topic].pop(agent_id, None)

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

        The states are those of one moment if nobody else steps agents meanwhile. The call waits
        while several earlier checkpoints are not saved yet.

        Args:
            marker: A JSON object that is saved in the same transaction.

        Returns:
            The number of states.

        Raises:
            ValueError: If the manager has no sink.
            Exception: What the sink raised for an earlier checkpoint, which is kept and tried
                again, or what an agent's `get_state` raised.
        """
        if self._writer is None:
            raise ValueError("checkpoint needs a manager with a sink, got sink=None")
        self.drain()
        changed, self._changed = self._changed, []
        for mailbox in changed:
            mailbox.changed = False
        states = self._perform(_get_state, [(mailbox, None) for mailbox in changed], changes=False)
        for state in states.values():
            if isinstance(state, BaseException):
                raise state
        self._writer.put({str(agent_id): state for agent_id, state in states.items()}, marker)
        return len(states)

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
        """
        if self._sink is None:
            raise ValueError("restore needs a manager with a sink, got sink=None")
        saved = self._sink.load()
        if saved is None:
            return None
        states, marker = saved
        for agent_id in self.agent_ids():
            state = states.get(str(agent_id))
            if state is not None:
                self._mailboxes[agent_id].agent.set_state(state)
        return marker

    def shutdown(self, wait: bool = True) -> None:
        """Finish what was asked for, save the checkpoints, and end all threads.

        Args:
            wait: Wait for operations that are still pending.
        """
        if wait:
            self.drain()
        self._executor.shutdown(wait=wait)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def get_statistics(self) -> dict[str, Any]:
        """Count what was done since the start.

        Returns:
            `agents_processed` (steps), `batches_processed` and `avg_batch_size` (agents that a
            thread was handed at a time), `avg_processing_time_ms` (per step, measured over whole
            batches), `messages_sent`, `dead_letters`, `failures` (operations that raised),
            `states_saved`, `batch_queue_size`, `thread_pool` (see `WorkStealingExecutor.stats`) and
            `agent_registry` (`size`, `num_shards`).
        """
        pool = self._executor.stats()
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
        gathering = Gathering(len(pairs))
        together: dict[type, list[Pair]] = defaultdict(list)
        single: list[Pair] = []
        waiting: list[Mailbox] = []
        for pair in pairs:
            mailbox, argument = pair
            if not mailbox.claim():
                if mailbox.offer(Operation(function, argument, gathering)):
                    waiting.append(mailbox)
            elif function is _step and hasattr(mailbox.agent, "step_batch"):
                together[type(mailbox.agent)].append(pair)
            else:
                single.append(pair)
            if changes:
                self._note_change(mailbox)
        size = self.config.batch_size
        work: list[Callable[[], None]] = [
            *(_Work(self._step_together, batch, gathering) for batch in together.values()),
            *(
                _Work(self._run_claimed, single[i : i + size], function, gathering)
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
        self._activity.enter()
        try:
            self._executor.submit(self._do, piece)
        except BaseException:
            self._activity.leave()
            raise

    def _do(self, piece: Callable[[], None]) -> None:
        _here.inside = True
        try:
            piece()
        finally:
            _here.inside = False
            self._activity.leave()

    def _step_together(self, batch: list[Pair], gathering: Gathering) -> None:
        """Step claimed agents of one class with one call of its `step_batch`."""
        began = time.perf_counter()
        agents = [mailbox.agent for mailbox, _ in batch]
        ids = [mailbox.agent_id for mailbox, _ in batch]
        failed = True
        results: Sequence[Any] = ()
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
        for mailbox in mailboxes:
            operation = mailbox.take()
            if operation is not None:
                self._submit(_Work(self._take_turn, mailbox, operation))

    def _take_turn(self, mailbox: Mailbox, first: Operation | None = None) -> None:
        """Do the next operations of an owned agent."""
        for _ in range(OPERATIONS_PER_TURN):
            operation = first or mailbox.take()
            first = None
            if operation is None:
                return
            self._do_operation(mailbox, operation)
        self._submit(_Work(self._take_turn, mailbox))

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

    def _schedule(self, mailboxes: Sequence[Mailbox]) -> None:
        """Have turns taken with agents that were idle, several by one piece of work."""
        size = self.config.batch_size
        for i in range(0, len(mailboxes), size):
            self._submit(_Work(self._take_turns, mailboxes[i : i + size]))

    def _take_turns(self, mailboxes: Sequence[Mailbox]) -> None:
        for mailbox in mailboxes:
            self._take_turn(mailbox)

    def _note_change(self, mailbox: Mailbox) -> None:
        if self._writer is not None and not mailbox.changed:
            mailbox.changed = True
            self._changed.append(mailbox)

    def _refuse_inside_an_operation(self) -> None:
        if getattr(_here, "inside", False):
            raise RuntimeError(
                "this call waits for agents and was made inside an agent's operation, "
                "where it could wait for itself; use send or broadcast there"
            )


def create_optimized_agent_manager(
    config: OptimizationConfig | None = None, *, sink: StateSink | None = None
) -> OptimizedAgentManager:
    """Make an agent manager; the same as calling `OptimizedAgentManager`."""
    return OptimizedAgentManager(config, sink=sink)


_here = threading.local()


def _interrupted() -> RuntimeError:
    return RuntimeError("the operation was interrupted")


class _Work:
    """A call, kept for later."""

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., None], *args: Any) -> None:
        self._function = function
        self._args = args

    def __call__(self) -> None:
        self._function(*self._args)


class _Activity:
    """How many pieces of work are queued or running."""

    def __init__(self) -> None:
        self._pieces = 0
        self._changed = threading.Condition()

    def enter(self) -> None:
        with self._changed:
            self._pieces += 1

    def leave(self) -> None:
        with self._changed:
            self._pieces -= 1
            if self._pieces == 0:
                self._changed.notify_all()

    def wait(self, timeout: float | None, help_out: Callable[[], bool]) -> None:
        """Do pieces that are queued, then wait for those that are running."""
        began = time.monotonic()
        while self._pieces and help_out():
            if timeout is not None and time.monotonic() - began >= timeout:
                break
        if timeout is not None:
            timeout = max(0.0, began + timeout - time.monotonic())
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces == 0, timeout):
                raise TimeoutError(
                    f"{self._pieces} pieces of work still pending after {timeout!r} seconds"
                )


class _Counts:
    """What a manager has done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps = 0
        self._batches = 0
        self._seconds = 0.0
        self.pace = math.inf
        """Seconds that a step takes lately."""
        self._failures = 0
        self._messages = 0
        self._dead_letters = 0

    def add(self, steps: int, seconds: float, failures: int) -> None:
        with self._lock:
            self._steps += steps
            self._batches += 1
            self._seconds += seconds
            pace = seconds / steps
            self.pace = pace if self.pace == math.inf else self.pace + (pace - self.pace) / 8
            self._failures += failures

    def fail(self, failures: int) -> None:
        with self._lock:
            self._failures += failures

    def send(self, reached: int, dead: int) -> None:
        with self._lock:
            self._messages += reached
            self._dead_letters += dead

    def summary(self) -> dict[str, Any]:
        with self._lock:
            return {
                "agents_processed": self._steps,
                "batches_processed": self._batches,
                "avg_batch_size": self._steps / self._batches if self._batches else 0.0,
                "avg_processing_time_ms": (
                    1000.0 * self._seconds / self._steps if self._steps else 0.0
                ),
                "failures": self._failures,
                "messages_sent": self._messages,
                "dead_letters": self._dead_letters,
            }
