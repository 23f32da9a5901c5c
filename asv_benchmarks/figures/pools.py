"""Objects used again beside objects made anew, and the queue beside `collections.deque`."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from figures.interleaved import Row, loops
from overdrive.pools import ObjectPool
from overdrive.queues import WorkStealingQueue

__all__ = ["rows"]

KEPT = 1000


def make_state() -> dict[str, Any]:
    """Make the state of an agent."""
    return {"beliefs": np.zeros(100), "observations": deque(maxlen=10), "actions": []}


def make_array() -> Any:
    """Make the array of the pool's examples."""
    return np.zeros(100, dtype=np.float32)


FRESH = {make_state: "make()", make_array: "zeros(100, float32)"}
"""How each is made without a pool, and without a call that only the pool needs."""


def rows() -> Iterator[Row]:
    """Measure, one thread."""
    for what, make, target in (("agent state", make_state, 0.6), ("100 float32", make_array, 1.3)):
        yield _recycled(what, make, target)
        yield _blocks(what, make)
    queue: WorkStealingQueue[int] = WorkStealingQueue()
    statements = {"ours": "queue.push(k); queue.pop()", "plain": "plain.append(k); plain.pop()"}
    taken = loops(statements, {"queue": queue, "plain": deque()}, list(range(1000)))
    yield Row("queue: push and pop", taken["ours"], "deque", taken["plain"], 1.5)


def _recycled(what: str, make: Callable[[], Any], target: float) -> Row:
    """Compare acquiring and releasing with making and dropping."""
    pool = ObjectPool(make, reset="auto")
    pool.release(pool.acquire())
    names: dict[str, Any] = {"acquire": pool.acquire, "release": pool.release, "make": make}
    names |= {"zeros": np.zeros, "float32": np.float32}
    statements = {"ours": "release(acquire())", "fresh": FRESH[make]}
    taken = loops(statements, names, list(range(1000)))
    return Row(f"recycle: {what}", taken["ours"], "made fresh", taken["fresh"], target)


def _blocks(what: str, make: Callable[[], Any]) -> Row:
    """Compare the blocks of memory that are allocated for an object."""
    pool = ObjectPool(make, max_size=KEPT, reset="auto")
    for thing in [pool.acquire() for _ in range(KEPT)]:
        pool.release(thing)
    ours, fresh = _allocated(pool.acquire), _allocated(make)
    return Row(f"blocks allocated: {what}", ours, "made fresh", fresh, 0.2, "blocks")


def _allocated(get: Callable[[], Any]) -> float:
    things = [None] * KEPT
    before = sys.getallocatedblocks()
    for i in range(KEPT):
        things[i] = get()
    return (sys.getallocatedblocks() - before) / KEPT
