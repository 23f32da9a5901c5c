"""What the demo shows: progress while it runs, and tables at the end."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table

import overdrive
from overdrive.demo.flights import Flights
from overdrive.demo.replay import Result

__all__ = ["Bar", "progress_bars", "results_json", "show_flights", "show_results", "show_totals"]

BLOCKS = 10


class Bar:
    """The progress of one replay."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, flights: int, moment: np.datetime64) -> None:
        """Show the number of flights done and the date."""
        self._progress.update(self._task, completed=flights, date=str(moment)[:10])


@contextmanager
def progress_bars(console: Console) -> Iterator[Progress]:
    """Show bars while the block runs; in a file or pipe, only how they ended."""
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("flights, {task.fields[date]}"),
        Elapsed(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


def add_bar(progress: Progress, label: str, flights: int, done: int = 0) -> Bar:
    """Add the bar of one replay."""
    task = progress.add_task(label, total=flights, completed=done, date="")
    return Bar(progress, task)


def show_flights(console: Console, flights: Flights) -> None:
    """Say what the data is like."""
    missing = flights.missing
    console.print(
        f"{len(flights):,} flights of {len(flights.tails):,} aircraft between "
        f"{len(flights.airports):,} airports; among them {flights.cancelled.sum():,} cancelled, "
        f"{flights.diverted.sum():,} that left and did not arrive where they should, "
        f"{missing['tailnum']:,} without a tail number; {sum(missing.values()):,} missing values "
        f"({', '.join(f'{name} {count:,}' for name, count in missing.items())})"
    )


def show_results(console: Console, results: Sequence[Result]) -> None:
    """Show the replays side by side; ratios are to the first."""
    ours = results[0]
    table = Table(title="The same replay, each way", title_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(result.label, justify="right")
    rows: list[tuple[str, list[str]]] = [
        ("flights", [f"{r.flights:,}" for r in results]),
        ("steps of agents", [f"{r.steps:,}" for r in results]),
        ("observations", [f"{r.observations:,}" for r in results]),
        ("observations per second", [f"{r.observations_per_second:,.0f}" for r in results]),
        ("steps of an hour, p50 (ms)", [f"{r.step_ms_p50:.2f}" for r in results]),
        ("steps of an hour, p99 (ms)", [f"{r.step_ms_p99:.2f}" for r in results]),
        ("with daily saving, p99 (ms)", [f"{r.saving_ms_p99:.2f}" for r in results]),
        ("messages between agents", [f"{r.messages:,}" for r in results]),
        ("states written", [f"{r.states:,}" for r in results]),
        ("wall time (s)", [f"{r.seconds:.2f}" for r in results]),
    ]
    if len(results) > 1:
        rows.append(("times as long", [_ratio(r.seconds, ours.seconds) for r in results]))
    for name, cells in rows:
        table.add_row(name, *cells)
    console.print(table)
    _show_errors(console, ours)


def _ratio(seconds: float, ours: float) -> str:
    return f"{seconds / ours:.2f}" if ours else "-"


def _show_errors(console: Console, result: Result) -> None:
    table = Table(title="Error of the predicted arrival delay, in minutes", title_justify="left")
    table.add_column("prediction", no_wrap=True)
    table.add_column("RMS", justify="right")
    table.add_column("mean absolute", justify="right")
    table.add_column("flights", justify="right")
    table.add_column("")
    block = "#" if console.options.ascii_only else "█"
    longest = max((score.root_mean_square for score in result.errors.values()), default=0.0) or 1.0
    for name, score in result.errors.items():
        bar = block * round(BLOCKS * score.root_mean_square / longest)
        table.add_row(
            name,
            f"{score.root_mean_square:.2f}",
            f"{score.mean_absolute:.2f}",
            f"{score.flights:,}",
            bar,
        )
    console.print(table)


def show_totals(console: Console, saved: dict[str, int], seen: dict[str, int]) -> bool:
    """Compare what the database adds up to with what the agents were told; `True` if the same."""
    same = saved == {**saved, **seen}
    if same:
        console.print(
            f"PostgreSQL holds the states of {saved['agents']:,} agents and adds them up to the "
            f"totals of the replay: {seen['flights']:,} delays, {seen['delay_minutes']:,} minutes, "
            f"{seen['cancelled']:,} cancellations, {seen['diverted']:,} diversions"
        )
    else:
        console.print(f"[red]PostgreSQL has other totals than the replay: {saved}, not {seen}")
    return same


def results_json(results: Sequence[Result], flights: Flights, totals: Any) -> dict[str, Any]:
    """Return everything that the tables show, and where it was measured."""
    return {
        "overdrive": overdrive.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "flights": len(flights),
        "aircraft": len(flights.tails),
        "airports": len(flights.airports),
        "cancelled": int(flights.cancelled.sum()),
        "diverted": int(flights.diverted.sum()),
        "missing": flights.missing,
        "database": totals,
        "results": [
            {
                "label": r.label,
                "complete": r.complete,
                "until": r.until,
                "flights": r.flights,
                "steps": r.steps,
                "observations": r.observations,
                "observations_per_second": r.observations_per_second,
                "step_ms_p50": r.step_ms_p50,
                "step_ms_p99": r.step_ms_p99,
                "saving_ms_p99": r.saving_ms_p99,
                "messages": r.messages,
                "states": r.states,
                "seconds": r.seconds,
                "errors": {
                    name: {
                        "flights": score.flights,
                        "mean_absolute": score.mean_absolute,
                        "root_mean_square": score.root_mean_square,
                    }
                    for name, score in r.errors.items()
                },
            }
            for r in results
        ],
    }
