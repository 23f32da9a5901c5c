"""The guide's threads: configurations, manager, queue and registry, by the names it has."""

import dataclasses

import pytest

from overdrive.agents.optimized_agent_manager import (
    OptimizationConfig,
    OptimizedAgentManager,
    create_optimized_agent_manager,
)
from overdrive.queues import WorkStealingQueue
from overdrive.registry import LockFreeAgentRegistry

OPTIONS = {field.name for field in dataclasses.fields(OptimizationConfig)}
GUIDE = {
    "batch_size", "batch_timeout_ms", "cpu_aware_sizing", "work_stealing_enabled",
    "gil_aware_scheduling", "async_io_enabled", "memory_pooling_enabled",
}  # fmt: skip

needs_options = pytest.mark.skipif(
    not GUIDE <= OPTIONS, reason=f"OptimizationConfig has no {', '.join(sorted(GUIDE - OPTIONS))}"
)


class Echo:
    def step(self, observation):
        return observation


@needs_options
@pytest.mark.parametrize(
    "options",
    [
        {"cpu_aware_sizing": True, "work_stealing_enabled": True, "batch_size": 20,
         "batch_timeout_ms": 50},
        {"cpu_aware_sizing": True, "work_stealing_enabled": True, "batch_size": 20,
         "gil_aware_scheduling": True, "async_io_enabled": True},
        {"batch_size": 100, "batch_timeout_ms": 10, "work_stealing_enabled": True},
        {"batch_size": 1, "batch_timeout_ms": 1, "cpu_aware_sizing": True},
        {"memory_pooling_enabled": True, "batch_size": 10},
    ],
    ids=["first", "threading", "high_throughput", "low_latency", "memory_constrained"],
)  # fmt: skip
def test_a_manager_runs_with_every_configuration(options):
    config = OptimizationConfig(**options)
    with OptimizedAgentManager(config) as manager:
        for agent_id in range(3):
            manager.register_agent(agent_id, Echo())
        assert manager.step_agents({0: "a", 1: "b", 2: "c"}) == {0: "a", 1: "b", 2: "c"}


@needs_options
def test_scheduling_for_the_interpreter_lock_can_be_switched_on_later():
    config = OptimizationConfig()
    config.gil_aware_scheduling = True
    assert config.gil_aware_scheduling


def test_a_manager_is_made_without_any_configuration():
    manager = create_optimized_agent_manager()
    assert isinstance(manager, OptimizedAgentManager)
    manager.shutdown()


def test_a_queue_gives_its_owner_the_newest_and_a_thief_the_oldest():
    queue = WorkStealingQueue()
    for item in (1, 2, 3):
        queue.push(item)
    assert queue.pop() == 3
    assert queue.steal() == 1


def test_the_registry_has_shards():
    registry = LockFreeAgentRegistry(num_shards=16)
    assert registry.register("scout", Echo())
    assert registry.get("scout") is registry["scout"]
    assert LockFreeAgentRegistry().size() == 0
