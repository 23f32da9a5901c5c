"""The suites and their benchmarks, by name."""

from collections.abc import Awaitable, Callable, Mapping

from overdrive.benchmarks.record import Record
from overdrive.benchmarks.suites import agents, api, database, memory, replay, system, threads

__all__ = ["SUITES", "Benchmark"]

Benchmark = Callable[[Record], Awaitable[None]]


def _by_name(*benchmarks: Benchmark) -> dict[str, Benchmark]:
    return {benchmark.__name__: benchmark for benchmark in benchmarks}


SUITES: Mapping[str, Mapping[str, Benchmark]] = {
    "threading": _by_name(
        threads.thread_pool_scaling, threads.work_stealing_efficiency, threads.lock_contention
    ),
    "database": _by_name(
        database.connection_pooling, database.query_caching, database.batch_operations
    ),
    "api": _by_name(api.response_caching, api.compression, api.concurrent_requests),
    "memory": _by_name(memory.memory_pooling, memory.gc_tuning, memory.leak_detection),
    "agent_coordination": _by_name(
        agents.agent_batching, agents.state_synchronization, agents.message_passing
    ),
    "system": _by_name(system.full_system_load, system.scalability_test, system.stress_test),
    "end_to_end": _by_name(replay.flight_replay),
}
