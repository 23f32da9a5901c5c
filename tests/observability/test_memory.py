"""What leaks is found and named; what only warms up, fills up or comes in bursts is not."""

import gc
import math
import os
import random
import subprocess
import sys
import threading
from collections import OrderedDict

import pytest

from overdrive.observability.census import LARGE, Census, find_container, take_census
from overdrive.observability.growth import LEAST_SAMPLES, trend
from overdrive.observability.leaks import find_leaks, referrer_chain
from overdrive.observability.profiler import MemoryProfiler, compare

pytest.importorskip("psutil")

ROUNDS = 12

BLOCK = 8 * 2**20
NATIVE_LEAK = """
import ctypes
import sys

from overdrive.observability import MemoryProfiler

rounds, size = map(int, sys.argv[1:])
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
profiler = MemoryProfiler()
for _ in range(rounds):
    ctypes.memset(libc.malloc(ctypes.c_size_t(size)), 1, size)
    profiler.take_census()
leaks = profiler.get_leak_detections()
print(";".join([
    ",".join(leak.kind for leak in leaks), leaks[0].object_type, str(leaks[0].growth)
]))
"""
HELD = []
"""What the planted leaks leak into."""


class Thing:
    def __init__(self, value=None):
        self.value = value


class Undead:
    """Is part of a cycle, and brings itself back when it is finalized."""

    def __init__(self):
        self.me = self

    def __del__(self):
        HELD.append(self)


@pytest.fixture(autouse=True, scope="module")
def apart():
    """Keep what other tests have left out of the censuses, which saves time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def held():
    global HELD  # noqa: PLW0603 - a new one, which is not frozen
    HELD = []
    yield
    # No finalizer brings them back a second time.
    HELD.clear()


@pytest.fixture
def profiler():
    return MemoryProfiler()


def profile(profiler, step):
    """Run a step before each census, and return what grows."""
    for number in range(ROUNDS):
        step(number)
        profiler.take_census()
    return profiler.get_leak_detections(referrers=True)


def names(leaks):
    return [leak.object_type for leak in leaks]


class TestCensus:
    def test_it_counts_the_objects_of_a_type(self):
        things = [Thing() for _ in range(500)]
        census = take_census()
        assert census.counts[f"{__name__}.Thing"] == len(things)
        assert census.objects >= 500
        assert 0 <= census.longest_pause <= census.seconds

    def test_it_knows_the_sizes_of_large_containers(self):
        small, large = ["x"] * (LARGE - 1), ["x"] * LARGE
        containers = take_census().containers
        assert containers["list", id(large)] == LARGE
        assert ("list", id(small)) not in containers
        assert find_container(("list", id(large))) is large

    def test_it_keeps_nothing_alive(self):
        things = [Thing() for _ in range(2000)]
        census = take_census()
        key = ("list", id(things))
        del things
        assert key in census.containers
        assert f"{__name__}.Thing" not in take_census().counts
        assert find_container(key) is None

    def test_two_are_compared(self):
        before = Census(0, {"a": 5, "b": 1}, {}, blocks=10, rss_bytes=100)
        after = Census(1, {"a": 3, "c": 9}, {}, blocks=15, rss_bytes=90)
        diff = compare(before, after)
        assert list(diff.counts.items()) == [("c", 9), ("a", -2), ("b", -1)]
        assert (diff.blocks, diff.rss_bytes) == (5, -10)


class TestTrend:
    TIMES = range(20)

    def test_a_line_has_its_slope(self):
        found = trend(self.TIMES, [3 * t + 7 for t in self.TIMES])
        assert (found.slope, found.growth, found.steady) == (3, 57, True)
        assert found.confidence > 0.999

    def test_an_outlier_hardly_matters(self):
        values = [3.0 * t for t in self.TIMES]
        values[4] = 1e9
        assert trend(self.TIMES, values).slope == pytest.approx(3, rel=0.2)

    def test_a_machine_that_slows_down_does_not_hide_it(self):
        found = trend([t**3 for t in self.TIMES], [3 * t for t in self.TIMES])
        assert (found.growth, found.steady) == (57, True)
        assert found.slope == 57 / 19**3

    def test_times_and_values_go_together(self):
        with pytest.raises(ValueError, match="do not go with"):
            trend(self.TIMES, [1])

    def test_noise_has_no_trend(self):
        noise = random.Random(1)
        sure = [
            trend(self.TIMES, [noise.gauss(0, 1) for _ in self.TIMES]).confidence > 0.99
            for _ in range(200)
        ]
        assert sum(sure) < 10

    def test_what_levels_off_is_not_steady(self):
        assert not trend(self.TIMES, [1 - math.exp(-t / 4) for t in self.TIMES]).steady

    def test_what_falls_or_stays_is_not_sure(self):
        assert trend(self.TIMES, [-t for t in self.TIMES]).confidence == 0
        assert trend(self.TIMES, [5] * 20).confidence == 0

    def test_a_few_samples_say_nothing(self):
        few = range(LEAST_SAMPLES - 1)
        assert trend(few, few).confidence == 0


class TestPlantedLeaks:
    def test_a_growing_list(self, profiler):
        leaks = profile(profiler, lambda _: HELD.extend(Thing() for _ in range(300)))
        found = {leak.object_type: leak for leak in leaks}
        leak = found[f"{__name__}.Thing"]
        assert leak.count == 300 * ROUNDS
        assert leak.growth == pytest.approx(300 * (ROUNDS - 1), rel=0.2)
        assert leak.confidence > 0.99
        assert leak.severity == "high"
        assert any(f"{__name__}.HELD" in holder for holder in leak.referrers)

    def test_a_cache_without_bound(self, profiler):
        cache = {}
        HELD.append(cache)

        def step(number):
            cache.update((f"{number}-{i}", ["value"]) for i in range(2000))

        [leak] = [leak for leak in profile(profiler, step) if leak.kind == "container"]
        assert (leak.object_type, leak.count) == ("dict", 2000 * ROUNDS)
        assert leak.key == ("dict", id(cache))
        assert any(f"{__name__}.HELD" in holder for holder in leak.referrers)

    def test_strings_that_the_collector_does_not_see(self, profiler):
        names = {}

        def step(number):
            names.update((f"{number}-{i}", "value") for i in range(10_000))

        [leak] = profile(profiler, step)
        assert (leak.kind, leak.object_type) == ("untracked", "untracked objects")
        assert leak.growth == pytest.approx(10_000 * (ROUNDS - 1), rel=0.3)

    def test_a_registry_of_callbacks(self, profiler):
        class Emitter:
            listeners = HELD

        def step(_):
            for number in range(300):
                Emitter.listeners.append(lambda number=number: number)

        assert "function" in names(profile(profiler, step))

    def test_a_cycle_with_a_finalizer(self, profiler):
        def step(_):
            for _ in range(300):
                Undead()

        assert f"{__name__}.Undead" in names(profile(profiler, step))

    @pytest.mark.skipif(sys.platform != "linux", reason="needs the C library of Linux")
    def test_a_native_allocation(self):
        # In a process of its own: this one gives back what earlier tests have used.
        output = subprocess.run(
            [sys.executable, "-c", NATIVE_LEAK, str(ROUNDS), str(BLOCK)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        kinds, name, growth = output.split(";")
        assert (kinds, name) == ("native", "native memory")
        assert float(growth) == pytest.approx(BLOCK * (ROUNDS - 1), rel=0.2)


class TestHealthyRuns:
    def test_a_quiet_process(self, profiler):
        assert profile(profiler, lambda _: None) == []

    def test_a_warm_up(self, profiler):
        things = []
        sizes = [round(20_000 * (1 - math.exp(-n / 2))) for n in range(ROUNDS)]

        def step(number):
            things.extend(Thing() for _ in range(sizes[number] - len(things)))

        assert profile(profiler, step) == []

    def test_a_cache_that_is_filled_and_evicts(self, profiler):
        cache = OrderedDict()

        def step(number):
            for i in range(3000):
                cache[number, i] = Thing()
                if len(cache) > 9000:
                    cache.popitem(last=False)

        assert profile(profiler, step) == []

    def test_bursts(self, profiler):
        things, sizes = [], random.Random(3)

        def step(_):
            things[:] = [Thing() for _ in range(sizes.randrange(10_000))]

        assert profile(profiler, step) == []

    def test_garbage_that_waits_for_the_collector(self, profiler):
        def step(_):
            for _ in range(500):
                thing = Thing()
                thing.value = thing

        assert profile(profiler, step) == []


def censuses(rss=lambda n: 10**8, blocks=lambda n: 10**5, counts=lambda n: {}):
    return [
        Census(n, counts(n), {}, blocks=round(blocks(n)), rss_bytes=round(rss(n)))
        for n in range(20)
    ]


class TestResidentMemory:
    MB = 2**20

    def test_growth_outside_of_python_is_native(self):
        [leak] = find_leaks(censuses(rss=lambda n: 10**8 + n * self.MB))
        assert (leak.kind, leak.severity) == ("native", "low")

    def test_growth_with_pythons_own_is_not(self):
        leaks = find_leaks(censuses(lambda n: 10**8 + n * self.MB, lambda n: 10**5 * (1 + n)))
        assert [leak.kind for leak in leaks] == ["untracked"]

    def test_an_arena_that_stays_after_a_burst_is_not(self):
        assert find_leaks(censuses(rss=lambda n: 10**8 + (n > 5) * 50 * self.MB)) == []


class TestProfiler:
    def test_nothing_is_found_before_there_are_enough(self, profiler):
        for _ in range(LEAST_SAMPLES - 1):
            HELD.extend(Thing() for _ in range(1000))
            profiler.take_census()
        assert profiler.get_leak_detections() == []

    def test_it_says_what_it_costs(self, profiler):
        profiler.take_census()
        profiler.take_census()
        stats = profiler.stats()
        assert stats.censuses == 2
        assert 0 < stats.last_seconds <= stats.seconds

    def test_a_pause_that_would_be_noticed_is_logged(self, caplog):
        slow = Census(0, {"a": 5}, {}, seconds=0.3, longest_pause=0.2)
        profiler = MemoryProfiler(census=lambda: slow)
        profiler.take_census()
        assert "kept other threads waiting for 200 ms" in caplog.text
        assert profiler.stats().longest_pause == 0.2

    def test_it_starts_and_stops_twice(self):
        taken = threading.Semaphore(0)

        def census():
            taken.release()
            return Census(0, {}, {})

        profiler = MemoryProfiler(interval=0.001, census=census, collect=False)
        for _ in range(2):
            profiler.start_monitoring()
            profiler.start_monitoring()
            assert taken.acquire(timeout=30)
            profiler.stop_monitoring()
            profiler.stop_monitoring()
            assert not profiler.is_monitoring

    def test_a_census_that_fails_is_logged_and_the_next_is_taken(self, caplog):
        twice = threading.Event()
        calls = []

        def census():
            calls.append(1)
            if len(calls) == 1:
                raise LookupError
            twice.set()
            return Census(0, {}, {})

        with MemoryProfiler(interval=0.001, census=census, collect=False):
            assert twice.wait(30)
        assert "a census failed" in caplog.text

    def test_it_keeps_the_last_censuses(self):
        profiler = MemoryProfiler(census=lambda: Census(0, {}, {}), collect=False)
        for _ in range(30):
            profiler.take_census()
        assert len(profiler.get_censuses()) == 20
        profiler.clear()
        assert profiler.get_censuses() == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_forked_child_does_not_monitor(self):
        with MemoryProfiler(census=lambda: Census(0, {}, {})) as profiler:
            child = os.fork()
            if child == 0:
                os._exit(int(profiler.is_monitoring))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert profiler.is_monitoring


def test_a_referrer_chain_ends_at_a_module():
    thing = Thing()
    HELD.append({"thing": thing})
    chain = referrer_chain(thing)
    assert chain == ("dict['thing']", "list of 1", f"{__name__}.HELD")
