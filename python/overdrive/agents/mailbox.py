"""One agent's place in the manager: its operations, in order, one at a time.

The agent is scheduled, not the operation. A mailbox is *idle*, or *busy* because exactly one
thread (or one queued piece of work) owns it:

- `offer` appends an operation. If the mailbox was idle it becomes busy, and the caller must see to
  it that a thread takes turns with it.
- `claim` makes an idle mailbox busy without an operation, for a caller who has one at hand; so an
  operation that finds the agent free never travels through the queue.
- `take` is called by the owner alone: it returns the next operation, or makes the mailbox idle.
- `rest`, by the owner too, makes it idle only if there is no operation, and says so.

Becoming idle and finding no operation are one step under the lock, as are appending and becoming
busy. So an operation is never left behind in an idle mailbox, and two threads never own one agent.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

__all__ = ["Gathering", "Mailbox", "Operation"]

# Taken only for a few instructions, in which nothing of the user's runs.
_LOCKS = [threading.Lock() for _ in range(64)]


def _renew_locks() -> None:
    _LOCKS[:] = [threading.Lock() for _ in _LOCKS]


# Registered before the manager's own, which lets the mailboxes take the new ones.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Gathering:
    """Results that arrive from several threads, by agent."""

    __slots__ = ("_arrived", "_lock", "_remaining", "results")

    def __init__(self, expected: int) -> None:
        self.results: dict[Hashable, Any] = {}
        self._remaining = expected
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        if expected == 0:
            self._arrived.set()

    def add(self, results: dict[Hashable, Any]) -> None:
        """Take the results of some agents."""
        with self._lock:
            self.results.update(results)
            self._remaining -= len(results)
            arrived = self._remaining == 0
        if arrived:
            self._arrived.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are there; `False` after `timeout` seconds."""
        return self._arrived.wait(timeout)


class Operation(NamedTuple):
    """Something to do with an agent; without a gathering nobody waits for the result."""

    function: Callable[[Any, Any], Any]
    argument: Any
    gathering: Gathering | None


class Mailbox:
    """The operations of one agent. Every method may be called from any thread."""

    __slots__ = ("_busy", "_lock", "_operations", "agent", "agent_id", "changed", "kind")

    def __init__(self, agent_id: Hashable, agent: Any) -> None:
        self.agent_id = agent_id
        self.agent = agent
        self.changed = False
        """Whether the agent is among those whose state is to be saved; the manager guards it."""
        self.kind = type(agent) if hasattr(type(agent), "step_batch") else None
        """Its class, if agents of that class can be stepped together."""
        self.renew()

    def renew(self) -> None:
        """Begin idle, also in a forked child, where the owner and its locks are gone."""
        self._operations: deque[Operation] = deque()
        self._busy = False
        self._lock = _LOCKS[id(self) // 64 % len(_LOCKS)]

    def offer(self, operation: Operation) -> bool:
        """Append an operation; `True` if the caller must now have turns taken."""
        with self._lock:
            self._operations.append(operation)
            if self._busy:
                return False
            self._busy = True
            return True

    def claim(self) -> bool:
        """Become the owner if nobody is."""
        with self._lock:
            if self._busy:
                return False
            self._busy = True
            return True

    def take(self) -> Operation | None:
        """Take the next operation, or stop being the owner."""
        with self._lock:
            if self._operations:
                return self._operations.popleft()
            self._busy = False
            return None

    def rest(self) -> bool:
        """Stop being the owner if there is nothing left to do; `False` if there is."""
        with self._lock:
            self._busy = bool(self._operations)
            return not self._busy
