"""End to end: a part of the year of flights, as `overdrive demo` replays it."""

from collections.abc import Callable

from overdrive.agents import StateSink
from overdrive.benchmarks.measure import Plan, baseline, ours, peer
from overdrive.benchmarks.record import Record
from overdrive.database import PostgresStateSink
from overdrive.demo.flights import load
from overdrive.demo.forecast import Baselines
from overdrive.demo.replay import Replay, Seen
from overdrive.demo.timeline import Timeline
from overdrive.demo.ways import Loop, Managed, Pool, Way

__all__ = ["flight_replay"]


async def flight_replay(record: Record) -> None:
    """Replay the first flights of 2013 in three ways, states in PostgreSQL included."""
    flights = record.plan.size(20_000, 2_000)
    record.note("reading the flights")
    timeline = Timeline(load(limit=flights))
    baselines = Baselines(timeline)
    dsn = await record.services.dsn()
    seen: list[Seen] = []

    def replay(way: Callable[[Timeline, StateSink], Way], name: str) -> Callable[[], float]:
        def run() -> float:
            sink = PostgresStateSink(dsn, name=f"benchmark {name}")
            sink.clear()
            runner = way(timeline, sink)
            try:
                result = Replay(timeline, baselines, runner, seed=0).run()
            finally:
                runner.finish()
            record.check(result.complete, f"the replay by the {name} did not end")
            seen.append(result.seen)
            record.facts[f"observations a second, {name}"] = result.observations_per_second
            return result.seconds

        return run

    plan = record.plan
    record.plan = Plan(rounds=plan.size(5, 2), quick=plan.quick, seed=plan.seed)
    await record.compare(
        f"replay of {flights:,} flights",
        ours("Overdrive", replay(Managed, "manager")),
        baseline("ThreadPoolExecutor", replay(Pool, "thread pool")),
        peer("for loop", replay(Loop, "loop")),
    )
    record.check(all(one == seen[0] for one in seen), "the ways have seen different flights")
