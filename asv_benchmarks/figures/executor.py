"""The executor beside `ThreadPoolExecutor`, bare threads, and what could be had at best."""

import hashlib
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from figures.interleaved import Row, interleaved
from overdrive.executor import AdaptiveConfig, AdaptiveThreadPool, WorkStealingExecutor

__all__ = ["rows"]

CALLS = 5_000
TRIPS = 500
WAITS = 1_000
WAITERS = 64
WAIT_SECONDS = 0.001
CORES = 2
BLOCK = b"overdrive" * 20_000
UNEVEN = [*map(round, map(random.Random(1).paretovariate, [1.2] * 200))]  # noqa: S311 - sizes
"""Sizes of pieces of work, most of them small and a few large, in no order."""
LARGE_LAST = [1] * 60 + [2, 4, 8, 16, 24]
"""The worst order for who does not know the sizes: whoever takes pieces as they come ends with
64 of 114, so 1.12 times half of the work is the least that can be reached."""
SIZES = (1, 2, 4, 16, 64)
PHASE_ROUNDS = 3


def rows() -> Iterator[Row]:
    """Measure; what a task costs includes its context, its times and their histograms."""
    yield from _costs(2)
    yield from _costs(8)
    yield _waits()
    yield from _uneven("uneven hashing on two cores", UNEVEN, 1.1)
    yield from _uneven("the same, largest pieces last", LARGE_LAST, None)
    yield from _phases()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        yield _two_workers()


def nothing(_: object = None) -> None:
    """Do nothing, so that only the handing over is measured."""


def _costs(workers: int) -> Iterator[Row]:
    plain, ours = ThreadPoolExecutor(workers), WorkStealingExecutor(workers)
    name = f"ThreadPoolExecutor({workers})"
    with plain, ours:
        taken = interleaved(
            {
                "theirs": lambda: _all_results(plain),
                "ours": lambda: _all_results(ours),
                "their map": lambda: _exhaust(plain.map(nothing, range(CALLS))),
                "our map": lambda: _exhaust(ours.map(nothing, range(CALLS))),
                "submit_many": lambda: [
                    f.result() for f in ours.submit_many(nothing, range(CALLS))
                ],
                "their trips": lambda: _trips(plain),
                "our trips": lambda: _trips(ours),
            }
        )
    per_call = {way: 1e9 * seconds / CALLS for way, seconds in taken.items()}
    per_trip = {way: 1e9 * seconds / TRIPS for way, seconds in taken.items()}
    yield Row("submit and result", per_call["ours"], name, per_call["theirs"], 1 / 6)
    yield Row("map", per_call["our map"], f"{name}.map", per_call["their map"], 1 / 20)
    yield Row("submit_many", per_call["submit_many"], f"{name}.map", per_call["their map"], 1 / 20)
    yield Row("one round trip", per_trip["our trips"], name, per_trip["their trips"], 1 / 2)


def _all_results(executor: Executor) -> None:
    for future in [executor.submit(nothing) for _ in range(CALLS)]:
        future.result()


def _trips(executor: Executor) -> None:
    for _ in range(TRIPS):
        executor.submit(nothing).result()


def _exhaust(results: Iterator[Any]) -> None:
    for _ in results:
        pass


def _waits() -> Row:
    """A thousand waits, beside as many bare threads that share them beforehand."""

    def share(count: int) -> None:
        for _ in range(count):
            time.sleep(WAIT_SECONDS)

    def bare() -> None:
        shares = [WAITS // WAITERS + (i < WAITS % WAITERS) for i in range(WAITERS)]
        start = threading.Barrier(WAITERS + 1)
        threads = [threading.Thread(target=_after, args=(start, share, n)) for n in shares]
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        spent.append(time.perf_counter() - began)

    spent: list[float] = []
    with WorkStealingExecutor(WAITERS) as executor:
        ways = {
            "bare": bare,
            "ours": lambda: _exhaust(executor.map(time.sleep, [WAIT_SECONDS] * WAITS)),
        }
        taken = interleaved(ways, 15)
    # Starting the bare threads is not counted.
    ideal = sorted(spent)[len(spent) // 2]
    return _ms("1,000 waits of 1 ms, 64 workers", taken["ours"], "64 bare threads", ideal, 1.15)


def _after(start: threading.Barrier, function: Callable[[int], None], argument: int) -> None:
    start.wait()
    function(argument)


def _ms(what: str, ours: float, against: str, theirs: float, target: float | None) -> Row:
    return Row(what, 1e3 * ours, against, 1e3 * theirs, target, "ms")


def _digest(size: int) -> None:
    for _ in range(size):
        hashlib.sha256(BLOCK).digest()


def _uneven(what: str, sizes: list[int], target: float | None) -> Iterator[Row]:
    def static() -> None:
        half = len(sizes) // 2
        parts = (sizes[:half], sizes[half:])
        threads = [threading.Thread(target=_digest, args=(sum(part),)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def both() -> None:
        threads = [threading.Thread(target=_digest, args=(sum(sizes) // 2,)) for _ in range(CORES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    plain, ours = ThreadPoolExecutor(CORES), WorkStealingExecutor(CORES)
    with plain, ours:
        taken = interleaved(
            {
                "ideal": both,
                "static": static,
                "plain": lambda: _exhaust(plain.map(_digest, sizes)),
                "ours": lambda: _exhaust(ours.map(_digest, sizes)),
            },
            15,
        )
    yield _ms(what, taken["ours"], "two equal halves", taken["ideal"], target)
    yield _ms(what, taken["ours"], "halves by number", taken["static"], 1.0)
    yield _ms(what, taken["ours"], f"ThreadPoolExecutor({CORES})", taken["plain"], None)


def _digest_and_wait(_: int) -> None:
    _digest(1)
    time.sleep(0.001)


PHASES: dict[str, tuple[Callable[[int], Any], int]] = {
    "waiting": (lambda _: time.sleep(0.002), 60_000),
    "hashing": (lambda _: _digest(1), 12_000),
    "both": (_digest_and_wait, 8_000),
    "Python": (lambda _: sum(range(5_000)), 25_000),
}


def _phases() -> Iterator[Row]:
    """One adaptive pool for all phases, beside the best of several fixed sizes for each.

    A phase is long enough, about two seconds, to show the size that is reached as well as the way
    there.
    """
    adaptive: dict[str, list[float]] = {name: [] for name in PHASES}
    fixed: dict[tuple[str, int], list[float]] = {(n, s): [] for n in PHASES for s in SIZES}
    for _ in range(PHASE_ROUNDS):
        with AdaptiveThreadPool(AdaptiveConfig(max_workers=SIZES[-1])) as pool:
            for name, phase in PHASES.items():
                adaptive[name].append(_timed(pool, *phase))
        for (name, size), times in fixed.items():
            times.append(_fixed(size, name))
    medians = {way: statistics.median(times) for way, times in fixed.items()}
    for name in PHASES:
        best = min(SIZES, key=lambda size: medians[name, size])
        seconds = statistics.median(adaptive[name])
        what, beside = f"adaptive pool, {name}", f"{best} threads"
        yield _ms(what, seconds, beside, medians[name, best], 1.1)


def _fixed(size: int, name: str) -> float:
    # The small sizes would take very long to wait: a part of the calls says enough.
    function, count = PHASES[name]
    part = max(1, 32 // size) if name == "waiting" else 1
    with WorkStealingExecutor(size) as pool:
        return part * _timed(pool, function, count // part)


def _timed(pool: Executor, function: Callable[[int], Any], count: int) -> float:
    began = time.perf_counter()
    _exhaust(pool.map(function, range(count)))
    return time.perf_counter() - began


def _two_workers() -> Row:
    def compute(_: int) -> int:
        return sum(i * i for i in range(20_000))

    with WorkStealingExecutor(1) as one, WorkStealingExecutor(2) as two:
        taken = interleaved(
            {
                "one": lambda: _exhaust(one.map(compute, range(100))),
                "two": lambda: _exhaust(two.map(compute, range(100))),
            },
            15,
        )
    return _ms("pure Python, two workers", taken["two"], "one worker", taken["one"], 1 / 1.7)
