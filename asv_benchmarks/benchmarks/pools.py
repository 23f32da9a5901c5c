"""Objects used again beside objects made anew."""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from overdrive.pools import MemoryPool, ObjectPool

ROUNDS = 1_000


def make_state() -> dict[str, Any]:
    """Make the state of an agent."""
    return {"beliefs": np.zeros(100), "observations": deque(maxlen=10), "actions": []}


def reset_state(state: dict[str, Any]) -> None:
    """Reset the state of an agent the way one would write it."""
    state["beliefs"].fill(0)
    state["observations"].clear()
    state["actions"].clear()


def make_array() -> Any:
    """Make the array of the pool's examples."""
    return np.zeros(100, dtype=np.float32)


def make_large_array() -> Any:
    """Make an array of four megabytes."""
    return np.zeros(1_000_000, dtype=np.float32)


class Anew:
    """A pool that keeps nothing."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.acquire = factory

    def release(self, thing: Any) -> None:
        """Do nothing."""


OBJECTS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "agent state": (make_state, reset_state),
    "100 float32": (make_array, lambda array: array.fill(0)),
    "4 MB": (make_large_array, lambda array: array.fill(0)),
    "list": (list, list.clear),
}
WAYS: dict[str, Callable[[Callable[[], Any], Callable[[Any], object]], Any]] = {
    'reset="auto"': lambda make, _: ObjectPool(make, reset="auto"),
    "reset_func": lambda make, reset: ObjectPool(make, reset_func=reset),
    "made anew": lambda make, _: Anew(make),
}


class Objects:
    """The time to get an object and give it back, 1,000 times."""

    param_names = ("object", "way")
    params = (list(OBJECTS), list(WAYS))

    def setup(self, name: str, way: str) -> None:
        """Make a pool with an object in it."""
        self.make, reset = OBJECTS[name]
        self.pool = WAYS[way](self.make, reset)
        self.pool.release(self.pool.acquire())
        self.rounds = ROUNDS if name != "4 MB" else 20

    def time_untouched(self, _name: str, _way: str) -> None:
        """Acquire and release, and in between nothing. Objects of 4 MB 20 times only."""
        acquire, release = self.pool.acquire, self.pool.release
        if isinstance(self.pool, Anew):
            make = self.make
            for _ in range(self.rounds):
                make()
            return
        for _ in range(self.rounds):
            release(acquire())


class UsedStates:
    """The time for 1,000 agent states that are used."""

    param_names = ("way",)
    params = (list(WAYS),)

    def setup(self, way: str) -> None:
        """Make a pool with a state in it."""
        self.pool = WAYS[way](make_state, reset_state)
        self.pool.release(self.pool.acquire())

    def time_used(self, _way: str) -> None:
        """Change every member of a state between acquisition and release."""
        acquire, release = self.pool.acquire, self.pool.release
        for step in range(ROUNDS):
            state = acquire()
            state["beliefs"][3] = step
            state["observations"].append(step)
            state["actions"].append(step)
            release(state)


class Allocations:
    """The memory blocks of CPython that one agent state takes."""

    unit = "blocks"
    param_names = ("way",)
    params = (list(WAYS),)

    def setup(self, way: str) -> None:
        """Make a pool with a hundred states in it."""
        self.pool = WAYS[way](make_state, reset_state)
        states = [self.pool.acquire() for _ in range(100)]
        for state in states:
            self.pool.release(state)

    def track_blocks_per_state(self, _way: str) -> float:
        """Acquire a hundred states, and count."""
        states: list[Any] = [None] * 100
        acquire = self.pool.acquire
        before = sys.getallocatedblocks()
        for place in range(100):
            states[place] = acquire()
        return (sys.getallocatedblocks() - before) / len(states)


class Memory:
    """The time to get a block of 100 zeros and give it back, 1,000 times."""

    def setup(self) -> None:
        """Make a pool and use each block once."""
        self.pool = MemoryPool(64, 100)
        for block in [self.pool.acquire() for _ in range(64)]:
            self.pool.release(block)

    def time_memory_pool(self) -> None:
        """Acquire a block and release it."""
        acquire, release = self.pool.acquire, self.pool.release
        for _ in range(ROUNDS):
            release(acquire())

    def time_made_anew(self) -> None:
        """Make an array of zeros."""
        for _ in range(ROUNDS):
            make_array()
