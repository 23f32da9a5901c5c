"""The guide's memory: pools, the tuner, leaks, and the optimizer of the process."""

import gc
from collections import deque

import numpy as np
import pytest

from overdrive.observability.memory_optimizer import (
    GarbageCollectionTuner,
    MemoryOptimizer,
    MemoryProfiler,
    ObjectPool,
    get_memory_optimizer,
    start_memory_optimization,
)


def test_a_pool_resets_what_it_hands_out_again():
    pool = ObjectPool(
        factory=lambda: np.zeros(100, dtype=np.float32),
        max_size=50,
        reset_func=lambda arr: arr.fill(0),
    )
    obj = pool.acquire()
    obj[:] = 1
    pool.release(obj)
    assert pool.acquire() is obj
    assert not obj.any()


def test_the_tuner_has_the_guides_workloads_and_puts_back_what_was():
    before = gc.get_threshold()
    tuner = GarbageCollectionTuner()
    try:
        for workload in ("high_allocation", "long_running", "memory_constrained"):
            tuner.enable_tuning(workload)
    finally:
        tuner.disable_tuning()
    assert gc.get_threshold() == before


def test_a_profiler_tells_leaks_with_type_and_count():
    profiler = MemoryProfiler()
    profiler.start_monitoring()
    try:
        for leak in profiler.get_leak_detections():
            assert leak.object_type
            assert leak.count > 0
    finally:
        profiler.stop_monitoring()


@pytest.mark.parametrize("workload", ["mixed"])
def test_memory_optimization_starts_for_a_workload(optimizer, workload):
    assert start_memory_optimization(workload) is get_memory_optimizer() is optimizer
    assert isinstance(optimizer.profiler.get_leak_detections(), list)


def test_the_optimizer_tracks_what_a_block_takes(optimizer):
    with optimizer.memory_tracking("agent_coordination"):
        kept = [bytearray(1000) for _ in range(100)]
    assert kept
    assert optimizer.get_memory_uses("agent_coordination")


def test_an_optimizer_makes_pools_of_states():
    def create_agent_state():
        return {"beliefs": np.zeros(100), "observations": deque(maxlen=10), "actions": []}

    def reset_agent_state(state):
        state["beliefs"].fill(0)
        state["observations"].clear()
        state["actions"].clear()

    pool = MemoryOptimizer().create_object_pool(
        name="agent_state", factory=create_agent_state, max_size=100, reset_func=reset_agent_state
    )
    state = pool.acquire()
    state["actions"].append("move")
    pool.release(state)
    assert pool.acquire()["actions"] == []
