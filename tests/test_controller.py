"""The controller of the adaptive pool: a pure function, fed with recorded and computed samples."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import pytest

from overdrive.executor.controller import (
    Bounds,
    Controller,
    Sample,
    Workload,
    classify,
    decide,
    start,
)

TRACES = json.loads((Path(__file__).parent / "traces" / "executor.json").read_text())
"""Samples of 0.05 seconds and more, taken on two cores while the named load ran on a pool."""

BOUNDS = Bounds(smallest=1, largest=64, cores=2)


@dataclasses.dataclass(frozen=True)
class Load:
    """Tasks that compute and wait, more of them than can be done, or as many as arrive."""

    computing: float
    waiting: float
    holds_gil: bool = False
    most_rate: float = float("inf")
    arrivals: float | None = None

    def capacity(self, cores):
        """Tasks per second if there is no lack of threads."""
        processors = 1 if self.holds_gil else cores
        most = processors / self.computing if self.computing else float("inf")
        return min(most, self.most_rate)

    def rate(self, size, cores):
        """Tasks per second with so many threads."""
        most = min(size / (self.computing + self.waiting), self.capacity(cores))
        return most if self.arrivals is None else min(most, self.arrivals)

    def sample(self, size, cores, seconds=0.05, noise=None):
        """What is measured with so many threads, the noise being a factor of each number."""
        factor = noise or (lambda: 1.0)
        rate = self.rate(size, cores)
        lacks = self.arrivals is None or rate < self.arrivals
        inside = size if lacks else rate * (self.computing + self.waiting)
        blocked = rate * self.waiting
        wanting = max(rate * self.computing, inside - blocked)
        saturated = self.holds_gil and rate >= 0.95 * self.capacity(cores)
        if self.most_rate < float("inf") and rate >= self.most_rate:
            wanting = rate * self.computing
        computing = rate * self.computing if self.holds_gil else wanting
        return Sample(
            seconds=seconds,
            completed=round(rate * seconds * factor()),
            queued=50 if lacks else 0,
            busy=inside * seconds * factor(),
            computing=computing * seconds * factor(),
            gil_wait=1.0 if saturated else 0.0,
        )


IO = Load(computing=20e-6, waiting=2e-3)
MIXED = Load(computing=1e-3, waiting=6e-3)
CPU = Load(computing=5e-3, waiting=0.0)
PYTHON = Load(computing=1e-3, waiting=0.0, holds_gil=True)
CROWDED = Load(computing=20e-6, waiting=2e-3, most_rate=4000.0)


def run(load, samples, controller=None, noise=None):
    """Close the loop: each size decides what is measured next. Returns the controllers."""
    controllers = [controller or Controller(size=start(BOUNDS))]
    for _ in range(samples):
        now = controllers[-1]
        sample = load.sample(now.size, BOUNDS.cores, noise=noise)
        controllers.append(decide(now, sample, BOUNDS))
    return controllers


def best(load):
    """The greatest rate of any fixed size."""
    return max(load.rate(size, BOUNDS.cores) for size in range(1, BOUNDS.largest + 1))


def changes(controllers):
    return sum(a.size != b.size for a, b in itertools.pairwise(controllers))


@pytest.mark.parametrize("load", [IO, MIXED, CPU, PYTHON, CROWDED])
def test_the_rate_comes_within_a_tenth_of_the_best_fixed_size_soon(load):
    reached = run(load, 20)[-1]
    assert load.rate(reached.size, BOUNDS.cores) >= 0.9 * best(load)


@pytest.mark.parametrize("load", [IO, MIXED, CPU, PYTHON])
def test_under_a_steady_load_the_size_is_steady(load):
    assert changes(run(load, 400)[40:]) == 0


@pytest.mark.parametrize("load", [IO, MIXED, CPU, PYTHON])
@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_make_the_size_oscillate(load, seed):
    chance = random.Random(seed)
    controllers = run(load, 1200, noise=lambda: chance.uniform(0.9, 1.1))
    assert changes(controllers[40:]) <= 12, "a minute has 1200 samples"
    mean = sum(load.rate(c.size, BOUNDS.cores) for c in controllers[40:]) / 1161
    assert mean >= 0.9 * best(load)


def test_a_load_that_holds_the_interpreter_lock_never_grows_the_pool():
    sizes = [controller.size for controller in run(PYTHON, 200)]
    assert max(sizes) == sizes[0]
    assert sizes[-1] <= BOUNDS.cores


def test_a_load_that_saturates_the_processors_ends_with_as_many_threads_as_cores():
    assert run(CPU, 60, Controller(size=40))[-1].size == BOUNDS.cores


def test_a_change_of_load_is_followed_in_both_directions():
    controller = None
    for load in (IO, PYTHON, MIXED, CPU, IO):
        controller = run(load, 40, controller)[-1]
        assert load.rate(controller.size, BOUNDS.cores) >= 0.9 * best(load)
        if load in (CPU, PYTHON):
            assert controller.size <= 2 * BOUNDS.cores


def test_a_growth_that_brings_nothing_is_taken_back_and_seldom_tried_again():
    controllers = run(CROWDED, 400)
    sizes = [controller.size for controller in controllers[40:]]
    assert sum(sizes) / len(sizes) < 40
    assert changes(controllers[40:]) <= 2 * 20 // 5 + 4, "one trial in five seconds"


def test_threads_that_nothing_is_left_for_go_slowly():
    sizes = [c.size for c in run(dataclasses.replace(IO, arrivals=2000.0), 200, Controller(64))]
    assert sizes[4] == 64
    assert all(a - b <= max(1, a // 4) for a, b in itertools.pairwise(sizes))
    assert 4 <= sizes[-1] <= 8


def test_an_idle_pool_shrinks_to_its_first_size_and_not_below():
    nothing = Sample(seconds=0.05, completed=0, queued=0, busy=0.0, computing=0.0, gil_wait=0.0)
    controller = Controller(size=64)
    for _ in range(300):
        controller = decide(controller, nothing, BOUNDS)
    assert controller.workload is Workload.IDLE
    assert controller.size <= start(BOUNDS) / 0.8


def test_the_size_stays_within_its_bounds():
    chance = random.Random(1)
    bounds = Bounds(smallest=2, largest=9, cores=4)
    controller = Controller(size=start(bounds))
    for _ in range(3000):
        sample = Sample(
            seconds=chance.choice([0.0, 0.05]),
            completed=chance.randrange(500),
            queued=chance.choice([0, 0, 1, 100]),
            busy=chance.uniform(0, 1),
            computing=chance.uniform(0, 1),
            gil_wait=chance.choice([0.0, 0.4, 1.0]),
        )
        controller = decide(controller, sample, bounds)
        assert 2 <= controller.size <= 9


@pytest.mark.parametrize(
    ("workload", "size"),
    [(Workload.CPU_BOUND, 4), (Workload.MIXED, 6), (Workload.IO_BOUND, 8)],
)
def test_the_first_sizes_are_one_and_a_half_and_two_times_the_cores(workload, size):
    assert start(Bounds(smallest=1, largest=64, cores=4), workload) == size


@pytest.mark.parametrize("trace", TRACES)
def test_a_recorded_load_is_recognised(trace):
    expected = {
        "waits": {Workload.IO_BOUND},
        "hashes": {Workload.CPU_BOUND},
        "python": {Workload.GIL_BOUND, Workload.CPU_BOUND},
    }[trace]
    seen = [classify(Sample(*numbers), BOUNDS) for numbers in TRACES[trace]]
    assert sum(workload in expected for workload in seen) >= 0.75 * len(seen)


@pytest.mark.parametrize(("trace", "most", "last"), [("waits", 64, 64), ("hashes", 3, 2)])
def test_a_recorded_load_leads_to_the_best_size(trace, most, last):
    controller = Controller(size=3)
    sizes = []
    for numbers in TRACES[trace]:
        controller = decide(controller, Sample(*numbers), BOUNDS)
        sizes.append(controller.size)
    assert max(sizes) == most
    assert sizes[-1] == last


def test_a_recorded_load_that_holds_the_lock_grows_nothing():
    controller = Controller(size=3)
    for numbers in TRACES["python"]:
        controller = decide(controller, Sample(*numbers), BOUNDS)
        assert controller.size <= 3
