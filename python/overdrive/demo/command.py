"""The command `overdrive demo`."""

import json
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress

from overdrive.agents import StateSink
from overdrive.database import EmbeddedPostgres, PostgresStateSink
from overdrive.database._asyncpg import FAILURES
from overdrive.demo import report
from overdrive.demo.flights import Flights, load
from overdrive.demo.forecast import Baselines
from overdrive.demo.replay import Replay, Result
from overdrive.demo.timeline import Timeline
from overdrive.demo.ways import Loop, Managed, Pool, Way
from overdrive.errors import OptionError, OverdriveError

__all__ = ["Options", "run"]

FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        flights: Replay only so many flights, the first of the year; `None` for all.
        seed: Decides the order in which the agents of an hour are stepped.
        plain: Also replay with a `for` loop and with a `ThreadPoolExecutor`.
        resume: Go on where the last run ended.
        json_file: Where to write the results.
        data_dir: Where the database is; `None` for the user's default.
    """

    flights: int | None = None
    seed: int = 0
    plain: bool = True
    resume: bool = False
    json_file: Path | None = None
    data_dir: Path | None = None

    def to_resume(self) -> str:
        """Return the command line that goes on with this run."""
        words = ["overdrive", "demo", "--resume"]
        if self.flights is not None:
            words += ["--flights", str(self.flights)]
        if self.data_dir is not None:
            words += ["--data-dir", str(self.data_dir)]
        return shlex.join(words)


def run(options: Options, console: Console | None = None) -> int:
    """Run the demo.

    Returns:
        The exit status: 0; 1 if the database's totals are not those of the replay; 130 if it was
        interrupted and what was done is saved.

    Raises:
        OptionError: If there is no run to go on with, or it is of other flights.
        OverdriveError: If the database does not start or fails, or another demo is using it.
    """
    console = console or Console()
    with console.status("Reading the flights"):
        flights = load(limit=options.flights)
        timeline = Timeline(flights)
        baselines = Baselines(timeline)
    report.show_flights(console, flights)
    with console.status("Starting PostgreSQL"):
        postgres = EmbeddedPostgres(options.data_dir)
        postgres.start()
    try:
        with postgres.reserve("demo"):
            return _Demo(options, console, timeline, baselines, postgres.dsn).run()
    except FAILURES as error:
        raise OverdriveError(f"PostgreSQL failed: {error}") from error
    finally:
        postgres.stop()


class _Demo:
    """One run of the demo, with a database that is up."""

    def __init__(
        self,
        options: Options,
        console: Console,
        timeline: Timeline,
        baselines: Baselines,
        dsn: str,
    ) -> None:
        self._options = options
        self._console = console
        self._timeline = timeline
        self._baselines = baselines
        self._dsn = dsn

    def run(self) -> int:
        """Replay, and show what came of it; a `KeyboardInterrupt` is a second Ctrl-C."""
        try:
            return self._run()
        except KeyboardInterrupt:
            self._console.print(
                "Interrupted again; the last checkpoint is kept. "
                f"To go on: {self._options.to_resume()}",
                soft_wrap=True,
            )
            return INTERRUPTED

    def _run(self) -> int:
        with _interrupt() as interrupted:
            results = self._replay(interrupted)
        ours = results[0]
        report.show_results(self._console, results)
        totals = self._totals()
        same = report.show_totals(self._console, totals, asdict(ours.seen))
        self._write_json(results, totals)
        self._explain(ours, interrupted=interrupted())
        if not same:
            return FAILED
        return INTERRUPTED if interrupted() else 0

    def _explain(self, ours: Result, *, interrupted: bool) -> None:
        """Say why the run is not what one might expect."""
        if not ours.complete:
            self._console.print(
                f"Interrupted at {ours.until} (UTC) of the flights; what was done is saved. "
                f"To go on: {self._options.to_resume()}",
                soft_wrap=True,
            )
        elif interrupted:
            self._console.print("Interrupted: the plain replay that was running is left out.")
        elif self._options.resume and not ours.steps:
            self._console.print("The saved run was complete: leave --resume out to start again.")

    def _replay(self, interrupted: Callable[[], bool]) -> list[Result]:
        with report.progress_bars(self._console) as progress:
            results = [self._once(Managed, self._sink(), progress, interrupted)]
            if self._options.plain and not self._options.resume:
                for way in (Loop, Pool):
                    if interrupted():
                        break
                    scratch = self._sink(way.__name__)
                    result = self._once(way, scratch, progress, interrupted)
                    if result.complete:
                        results.append(result)
                    scratch.clear()
                    scratch.close()
        return results

    def _once(
        self,
        way: Callable[[Timeline, StateSink], Way],
        sink: PostgresStateSink,
        progress: Progress,
        interrupted: Callable[[], bool],
    ) -> Result:
        """Replay in one way, from the beginning or from where it ended."""
        if not self._options.resume:
            sink.clear()
        runner = way(self._timeline, sink)
        try:
            replay = Replay(self._timeline, self._baselines, runner, seed=self._options.seed)
            if self._options.resume and not replay.restore():
                raise OptionError("there is no run to resume in this database: leave --resume out")
            total = len(self._timeline.flights)
            bar = report.add_bar(progress, runner.label, total, replay.predicted)
            return replay.run(stop=interrupted, progress=bar)
        finally:
            runner.finish()

    def _sink(self, way: str = "") -> PostgresStateSink:
        return PostgresStateSink(self._dsn, name=f"demo {way}".strip())

    def _totals(self) -> dict[str, int]:
        """Let the database add up what the agents have learnt."""
        sink = self._sink()
        try:
            fields = ("flights", "delay_minutes", "cancelled", "diverted")
            return {"agents": sink.count()} | {field: int(sink.total(field)) for field in fields}
        finally:
            sink.close()

    def _write_json(self, results: list[Result], totals: dict[str, int]) -> None:
        file = self._options.json_file
        if file is not None:
            flights: Flights = self._timeline.flights
            text = json.dumps(report.results_json(results, flights, totals), indent=2)
            try:
                file.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise OverdriveError(f"cannot write {file}: {error.strerror}") from error
            self._console.print(f"Results written to {file}")


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C in the block only be noted; the second one interrupts as usual."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    usual = signal.getsignal(signal.SIGINT)

    def note(_signal: int, _frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, usual)
