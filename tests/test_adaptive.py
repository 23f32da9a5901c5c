"""The adaptive pool on real loads. How well it does is measured in the benchmarks, not here."""

import gc
import hashlib
import os
import sys
import threading
import weakref
from dataclasses import dataclass

import pytest

from overdrive.executor import AdaptiveConfig, AdaptiveThreadPool, Topology
from overdrive.executor.governor import HoldingProfile, ThreadClock

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
TWO_CORES = Topology(logical=2, usable=2, physical=2, quota=None)


def wait_until(condition):
    """Wait, for as long as a test may take, until something is so."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.005)


def test_threads_that_wait_are_joined_by_more():
    release = threading.Event()
    with AdaptiveThreadPool(AdaptiveConfig(max_workers=12), topology=TWO_CORES) as pool:
        assert pool.stats().limit == 3
        futures = [pool.submit(release.wait, 60) for _ in range(12)]
        wait_until(lambda: sum(future.running() for future in futures) == 12)
        stats = pool.get_stats()
        release.set()
        assert (stats["size"], stats["workload"]) == (12, "io_bound")
        assert stats["grown"] >= 1


def test_threads_end_when_there_is_nothing_left_for_them():
    gate = threading.Event()
    with AdaptiveThreadPool(AdaptiveConfig(max_workers=12), topology=TWO_CORES) as pool:
        futures = [pool.submit(gate.wait, 60) for _ in range(12)]
        wait_until(lambda: pool.get_stats()["size"] == 12)
        gate.set()
        for future in futures:
            future.result(60)

        def trickle():
            pool.submit(int).result(60)
            return pool.stats().workers < 12 and pool.get_stats()["shrunk"] > 0

        wait_until(trickle)


@pytest.mark.skipif(not HAS_GIL, reason="there is no such lock on this build")
def test_python_tasks_do_not_grow_the_pool_and_are_recognised():
    def compute():
        return sum(range(3000))

    with AdaptiveThreadPool(AdaptiveConfig(max_workers=32), topology=TWO_CORES) as pool:
        futures = []

        def known():
            futures.extend(pool.submit_many(lambda _: compute(), range(500)))
            futures[-1].result(60)
            return pool.get_stats()["gil_holding_functions"] > 0

        wait_until(known)
        assert pool.get_stats()["size"] <= 6


@pytest.mark.skipif(not HAS_GIL, reason="there is no such lock on this build")
def test_announced_holders_leave_threads_for_others():
    config = AdaptiveConfig(max_workers=4, cpu_aware_sizing=False)
    with AdaptiveThreadPool(config) as pool:
        gate, inside, most = threading.Event(), [], []

        def hold():
            inside.append(1)
            most.append(len(inside))
            gate.wait(60)
            inside.pop()

        holding = pool.with_options(releases_gil=False)
        futures = [holding.submit(hold) for _ in range(6)]
        assert pool.with_options(releases_gil=True).submit(lambda: gate.set() or 1).result(60) == 1
        for future in futures:
            future.result(60)
        assert max(most) <= 2


def test_work_can_be_done_in_one_queue():
    config = AdaptiveConfig(max_workers=1, work_stealing_enabled=False)
    with AdaptiveThreadPool(config) as pool:
        order = []

        def outer():
            return [pool.submit(order.append, i) for i in range(5)]

        for future in pool.submit(outer).result(60):
            future.result(60)
        assert order == [0, 1, 2, 3, 4]


def test_the_number_of_threads_can_be_fixed():
    with AdaptiveThreadPool(AdaptiveConfig(max_workers=5, cpu_aware_sizing=False)) as pool:
        barrier = threading.Barrier(5)
        assert len(list(pool.map(lambda _: barrier.wait(60), range(5)))) == 5
        assert pool.stats().limit == 5


def test_options_of_a_derived_class_serve_as_they_are():
    @dataclass(slots=True, kw_only=True)
    class More(AdaptiveConfig):
        batch_size: int = 20

    with AdaptiveThreadPool(More(max_workers=3), topology=TWO_CORES) as pool:
        assert pool.submit(hashlib.sha256, b"x").result(60)
        assert pool.get_stats()["cores"] == 2
        assert pool._max_workers == 3


@pytest.mark.parametrize("options", [{"min_workers": 0}, {"min_workers": 3, "max_workers": 2}])
def test_numbers_out_of_order_are_refused(options):
    with pytest.raises(ValueError, match="_workers must be at least"):
        AdaptiveConfig(**options)


def test_a_dropped_pool_ends_all_its_threads():
    pool = AdaptiveThreadPool(None, "dropped-pool")
    future = pool.submit(int)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert future.result(60) == 0
    wait_until(lambda: gc.collect() or gone() is None)
    wait_until(lambda: not any(t.name.startswith("dropped-pool") for t in threading.enumerate()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_pool_that_adapts():
    with AdaptiveThreadPool(AdaptiveConfig(max_workers=4)) as pool:
        pool.submit(int).result(60)
        child = os.fork()
        if child == 0:
            works = pool.submit(pow, 2, 5).result(20) == 32
            pool.shutdown()
            os._exit(0 if works else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_functions_are_told_apart_by_when_others_are_let_in():
    profile = HoldingProfile()
    for i in range(20):
        profile.note([1], let_in=False)
        profile.note([2, 0], let_in=i % 2 == 0)
        profile.note([1, 3], let_in=False)
        profile.note([3], let_in=True)
    assert profile.holding() == [1]
    for _ in range(200):
        profile.note([1], let_in=True)
    assert profile.holding() == []


def test_the_clock_of_threads_sees_who_computes_and_not_who_waits():
    release, leave = threading.Event(), threading.Event()

    def compute():
        while not release.is_set():
            sum(range(1000))
        leave.wait(60)

    busy, waiting = threading.Thread(target=compute), threading.Thread(target=leave.wait)
    clock = ThreadClock()
    busy.start()
    waiting.start()
    wait_until(lambda: clock.advance([busy]) > 0)
    clock.advance([waiting])
    idle = clock.advance([waiting])
    release.set()
    leave.set()
    busy.join(60)
    waiting.join(60)
    assert idle < 0.5
    assert clock.advance([]) == 0.0
