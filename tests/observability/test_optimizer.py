"""Pools by name, tracked blocks, memory that is freed, and the snippets of the guide."""

import gc
import subprocess
import sys
import textwrap
from collections import deque

import pytest

from overdrive import observability
from overdrive.observability import (
    MemoryOptimizer,
    MemoryProfiler,
    memory_optimizer,
    performance_monitor,
)
from overdrive.observability.census import Census
from overdrive.observability.optimizer import DEFAULT_POOLS
from overdrive.pools import ObjectPool

pytest.importorskip("psutil")


@pytest.fixture
def optimizer():
    profiler = MemoryProfiler(census=lambda: Census(0, {}, {}), collect=False)
    optimizer = MemoryOptimizer(profiler=profiler)
    yield optimizer
    optimizer.stop_optimization()


class TestPools:
    def test_a_pool_has_a_name(self, optimizer):
        pool = optimizer.create_object_pool("lists", list, max_size=3)
        assert optimizer.get_object_pool("lists") is pool
        assert pool.max_size == 3

    def test_a_name_is_taken_once(self, optimizer):
        pool = optimizer.create_object_pool("lists", list)
        with pytest.raises(ValueError, match="there is a pool named 'lists'"):
            optimizer.create_object_pool("lists", list)
        assert optimizer.get_object_pool("lists") is pool
        with pytest.raises(KeyError):
            optimizer.get_object_pool("sets")

    def test_objects_come_back_reset(self, optimizer):
        def create_agent_state():
            return {"observations": deque(maxlen=10), "actions": []}

        def reset_agent_state(state):
            state["observations"].clear()
            state["actions"].clear()

        pool = optimizer.create_object_pool(
            name="agent_state",
            factory=create_agent_state,
            max_size=100,
            reset_func=reset_agent_state,
        )
        state = pool.acquire()
        state["actions"].append("fly")
        pool.release(state)
        assert pool.acquire() is state
        assert state["actions"] == []

    def test_without_a_function_they_are_reset_by_kind(self, optimizer):
        pool = optimizer.create_object_pool("lists", list)
        items = pool.acquire()
        items.append(1)
        pool.release(items)
        assert pool.acquire() == []


class TestStarting:
    def test_it_tunes_makes_the_default_pools_and_profiles(self, optimizer):
        before = gc.get_threshold()
        optimizer.start_optimization("long_running")
        optimizer.start_optimization("mixed")
        assert gc.get_threshold() != before
        assert optimizer.profiler.is_monitoring
        assert set(optimizer.get_statistics()["pools"]) == set(DEFAULT_POOLS)
        optimizer.stop_optimization()
        optimizer.stop_optimization()
        assert gc.get_threshold() == before
        assert not optimizer.profiler.is_monitoring

    def test_default_pools_leave_those_of_the_user_alone(self, optimizer):
        mine = optimizer.create_object_pool("list", list, max_size=1)
        optimizer.start_optimization()
        assert optimizer.get_object_pool("list") is mine

    def test_an_unknown_workload_starts_nothing(self, optimizer):
        with pytest.raises(ValueError, match="workload must be one of"):
            optimizer.start_optimization("fast")
        assert not optimizer.profiler.is_monitoring


class TestTracking:
    def test_a_block_is_measured(self, optimizer):
        with optimizer.memory_tracking("strings"):
            strings = [str(number) * 2 for number in range(10**5)]
        [use] = optimizer.get_memory_uses()
        assert use.name == "strings"
        assert use.blocks > 0.9 * len(strings)
        assert use.seconds >= 0

    def test_collections_are_counted(self, optimizer):
        with optimizer.memory_tracking("collecting"):
            gc.collect()
        assert optimizer.get_memory_uses()[0].collections >= 1

    def test_a_block_that_raises_is_measured_too(self, optimizer):
        with pytest.raises(LookupError), optimizer.memory_tracking("broken"):
            raise LookupError
        assert [use.name for use in optimizer.get_memory_uses("broken")] == ["broken"]
        assert optimizer.get_memory_uses("other") == []


class TestFreeing:
    def test_without_pressure_nothing_is_done(self):
        freed = MemoryOptimizer(pressure=100).optimize_memory()
        assert (freed.acted, freed.collected) == (False, 0)

    def test_under_pressure_garbage_is_collected(self):
        garbage = []
        garbage.append(garbage)
        gc.collect()
        gc.disable()
        try:
            for _ in range(1000):
                cycle = []
                cycle.append(cycle)
            del cycle
            freed = MemoryOptimizer(pressure=0).optimize_memory()
        finally:
            gc.enable()
        assert freed.acted
        assert freed.collected >= 1000
        assert 0 < freed.memory_usage <= 100

    def test_it_can_be_forced(self):
        assert MemoryOptimizer(pressure=100).optimize_memory(force=True).acted

    @pytest.mark.parametrize("pressure", [-1, 101])
    def test_a_pressure_that_makes_no_sense_is_refused(self, pressure):
        with pytest.raises(ValueError, match="pressure must be"):
            MemoryOptimizer(pressure=pressure)


def test_the_faces_give_out_what_the_package_has():
    assert memory_optimizer.MemoryOptimizer is observability.MemoryOptimizer
    assert memory_optimizer.get_memory_optimizer() is observability.get_memory_optimizer()
    assert memory_optimizer.ObjectPool is ObjectPool
    for face in (memory_optimizer, performance_monitor):
        assert all(hasattr(observability, name) for name in face.__all__)


def test_the_module_tracks_with_the_optimizer_of_the_process():
    with observability.memory_tracking("here"):
        pass
    assert observability.get_memory_optimizer().get_memory_uses("here")


def test_a_process_that_is_optimized_ends():
    code = """
        from overdrive.observability.memory_optimizer import start_memory_optimization
        from overdrive.observability.performance_monitor import start_performance_monitoring
        start_performance_monitoring()
        optimizer = start_memory_optimization("mixed")
        with optimizer.memory_tracking("agent_coordination"):
            pass
    """
    command = [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
