"""Two threads beside one, on one registry: what counts on a free-threaded build.

Each thread does the same work as the one it is compared with, so that a ratio of 1 is perfect, and
one of 2 means that they took turns. The threads start at the same moment; the shortest of many
short runs is taken, because on a busy machine most runs have no processor for each thread.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from figures.interleaved import Row
from overdrive.registry import ShardedRegistry

__all__ = ["rows"]

CALLS = 40_000
ROUNDS = 60
SHARES = [[f"agent-{thread}-{i}" for i in range(500)] for thread in range(2)]
KEYS = {
    "disjoint keys": SHARES,
    "the same keys": [SHARES[0], SHARES[0]],
    "one key": [SHARES[0][:1] * 500] * 2,
}

Work = Callable[[int], object]


def rows() -> Iterator[Row]:
    """Measure look-ups and, with disjoint keys, stores."""
    target = 2 / 1.7 if not getattr(sys, "_is_gil_enabled", lambda: True)() else None
    for name, keys in KEYS.items():
        for kind in (ShardedRegistry, dict):
            wanted = target if (name, kind) == ("disjoint keys", ShardedRegistry) else None
            yield _row(f"{kind.__name__}: get, {name}", _look_up(_filled(kind), keys), wanted)
    for kind in (ShardedRegistry, dict):
        yield _row(f"{kind.__name__}: set, disjoint keys", _store(_filled(kind), SHARES))


def _filled(kind: Callable[[], Any]) -> Any:
    entries = kind()
    for key in (key for share in SHARES for key in share):
        entries[key] = object()
    return entries


def _look_up(entries: Any, keys_of: list[list[str]]) -> Work:
    def work(thread: int) -> None:
        get, keys = entries.get, keys_of[thread]
        for _ in range(CALLS // len(keys)):
            for key in keys:
                get(key)

    return work


def _store(entries: Any, keys_of: list[list[str]]) -> Work:
    def work(thread: int) -> None:
        target, keys = entries, keys_of[thread]
        for _ in range(CALLS // len(keys)):
            for key in keys:
                target[key] = key

    return work


def _row(what: str, work: Work, target: float | None = None) -> Row:
    one, two = [], []
    for _ in range(ROUNDS):
        one.append(_seconds(work, 1))
        two.append(_seconds(work, 2))
    ours, theirs = (min(times) / CALLS * 1e9 for times in (two, one))
    return Row(f"{what}, 2 threads", ours, "1 thread", theirs, target)


def _seconds(work: Work, threads: int) -> float:
    """Return the time from the first start to the last end."""
    ready, spans = [False] * threads, [(0.0, 0.0)] * threads

    def run(thread: int) -> None:
        ready[thread] = True
        while not all(ready):
            pass
        began = time.perf_counter()
        work(thread)
        spans[thread] = (began, time.perf_counter())

    started = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    return max(end for _, end in spans) - min(began for began, _ in spans)
