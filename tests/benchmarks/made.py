"""Results as a run would give them."""

from overdrive.benchmarks import BenchmarkResult, Comparison, Results, Series, Table
from overdrive.benchmarks.catalogue import SUITES
from overdrive.benchmarks.environment import describe


def comparison(what, mine, plain, peer=None, unit="s"):
    def values(middle):
        return tuple(middle * (1 + (i * 7 % 11 - 5) / 500) for i in range(21))

    series = [Series("Overdrive", "ours", values(mine)), Series("plain", "baseline", values(plain))]
    if peer is not None:
        series.append(Series("peer <b>", "peer", values(peer)))
    return Comparison(what, unit, tuple(series), higher_is_better=unit != "s")


def results(scale=1.0):
    """Make a result of every benchmark, with enough comparisons for every claim."""
    table = Table("steps a second by number", "steps/s", "agents", (10.0, 100.0, 1000.0),
                  {"Overdrive": (5.0, 50.0, 400.0), "plain": (4.0, 40.0, 390.0)})  # fmt: skip
    found = [
        BenchmarkResult(
            suite=suite,
            name=name,
            seconds=1.0,
            comparisons=tuple(
                comparison(f"{name} {i}", scale * 1e-3, 2e-3, 0.5e-3 if i == 0 else None)
                for i in range(10)
            ),
            tables=(table,) if name == "scalability_test" else (),
        )
        for suite, benchmarks in SUITES.items()
        for name in benchmarks
    ]
    return Results(describe() | {"command": "overdrive bench"}, tuple(found))
