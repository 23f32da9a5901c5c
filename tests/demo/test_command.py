"""The command as a user runs it, with a real PostgreSQL and real signals."""

import asyncio
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap

import asyncpg
import pytest
from made_flights import first_flights
from rich.console import Console

from overdrive.database import PostgresStateSink
from overdrive.demo import command
from overdrive.demo.command import Options, run
from overdrive.demo.ways import Loop, Managed
from overdrive.errors import OptionError, OverdriveError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def sink(postgres):
    """The states of the demo, none at first."""
    sink = PostgresStateSink(postgres.dsn, name="demo")
    sink.clear()
    yield sink
    sink.clear()
    sink.close()


@pytest.fixture
def demo(postgres, sink, monkeypatch):
    """Run the demo; return its exit status and what it shows, in one line."""
    monkeypatch.setattr(command, "load", lambda *, limit: first_flights(limit))

    def demo(**options):
        console = Console(file=io.StringIO(), width=200)
        status = run(Options(data_dir=postgres.data_dir, **options), console)
        return status, " ".join(console.file.getvalue().split())

    return demo


def execute(postgres, text):
    async def run():
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return await connection.fetchval(text)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_a_run_shows_each_way_and_the_same_totals_from_the_database(demo, sink, tmp_path):
    file = tmp_path / "results.json"
    status, shown = demo(flights=1500, json_file=file)
    assert status == 0
    results = json.loads(file.read_text())
    assert f"1,500 flights of {results['aircraft']:,} aircraft" in shown
    assert f"{results['cancelled']} cancelled" in shown
    assert f"{results['missing']['tailnum']} without a tail number" in shown
    assert f"{sum(results['missing'].values())} missing values" in shown
    assert f"holds the states of {results['database']['agents']:,} agents" in shown
    ours, loop, pool = results["results"]
    assert [r["label"] for r in (ours, loop, pool)] == [
        "Overdrive",
        "for loop",
        "ThreadPoolExecutor",
    ]
    for name in ("flights", "steps", "observations", "messages", "states", "errors", "complete"):
        assert ours[name] == loop[name] == pool[name], name
    for result in (ours, loop, pool):
        assert f"{result['observations_per_second']:,.0f}" in shown
        assert f"{result['seconds']:.2f}" in shown
        assert 0 < result["step_ms_p50"] <= result["step_ms_p99"] <= result["saving_ms_p99"]
    states = sink.load()[0]
    assert len(states) == results["database"]["agents"]
    for name in ("flights", "delay_minutes", "cancelled", "diverted"):
        assert sum(s[name] for s in states.values()) == results["database"][name]
    database = results["database"]
    assert ours["observations"] == sum(database[n] for n in ("flights", "cancelled", "diverted"))
    assert ours["states"] >= len(states)
    for error in ours["errors"].values():
        assert f"{error['root_mean_square']:.2f}" in shown


def test_the_plain_ways_leave_nothing_in_the_database(demo, sink, postgres):
    demo(flights=300)
    names = "select string_agg(distinct name, ',') from overdrive_agent_states where name ~ 'demo'"
    assert execute(postgres, names) == "demo"


def test_a_second_run_starts_again(demo, sink):
    demo(flights=400, plain=False)
    first = sink.load()
    status, _ = demo(flights=400, plain=False, seed=5)
    assert status == 0
    assert sink.load() == first


def test_resuming_a_complete_run_says_so(demo, sink):
    demo(flights=400, plain=False)
    first = sink.load()
    status, shown = demo(flights=400, plain=False, resume=True)
    assert status == 0
    assert "The saved run was complete" in shown
    assert sink.load() == first


def test_without_a_run_there_is_nothing_to_resume(demo):
    with pytest.raises(OptionError, match="no run to resume in this database"):
        demo(flights=100, plain=False, resume=True)


def test_a_run_of_other_flights_is_not_resumed_and_stays(demo, sink):
    demo(flights=400, plain=False)
    first = sink.load()
    with pytest.raises(OptionError, match=r"of 400 flights, not of 300.*same --flights"):
        demo(flights=300, plain=False, resume=True)
    assert sink.load() == first


def test_other_totals_in_the_database_are_a_failure(demo, monkeypatch):
    monkeypatch.setattr("overdrive.demo.replay.Seen.add", lambda self, hour: None)
    status, shown = demo(flights=300, plain=False)
    assert status == 1
    assert "PostgreSQL has other totals than the replay" in shown


def test_a_database_that_refuses_is_a_clear_error(demo, sink, postgres):
    demo(flights=300, plain=False)
    constraint = "check (version < 2) not valid"
    execute(postgres, f"alter table overdrive_agent_states add constraint full_up {constraint}")
    try:
        with pytest.raises(OverdriveError, match=r"PostgreSQL failed: .*full_up"):
            demo(flights=1500, plain=False)
    finally:
        execute(postgres, "alter table overdrive_agent_states drop constraint full_up")


def test_results_that_cannot_be_written_are_a_clear_error(demo, tmp_path):
    with pytest.raises(OverdriveError, match=r"cannot write .*gone"):
        demo(flights=300, plain=False, json_file=tmp_path / "gone" / "results.json")


def test_a_terminal_without_unicode_is_served(postgres, sink):
    process = Command(postgres, 300, "--no-plain", env={"PYTHONIOENCODING": "ascii"})
    output = process.wait()
    assert process.process.returncode == 0
    assert output.isascii()
    assert "####" in output


def test_two_demos_at_once_do_not_mix_their_states(demo, postgres):
    script = """
        import sys
        import fasteners

        with fasteners.InterProcessLock(sys.argv[1]):
            print("held", flush=True)
            sys.stdin.readline()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), f"{postgres.data_dir}.demo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OverdriveError, match="another demo is using"):
            demo(flights=100, plain=False)
    finally:
        other.communicate("\n", timeout=30)
    assert demo(flights=100, plain=False)[0] == 0


class Command:
    """The demo in a process of its own."""

    def __init__(self, postgres, flights, *options, env=None):
        where = ["--flights", str(flights), "--data-dir", str(postgres.data_dir)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "overdrive", "demo", *where, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | (env or {}),
        )

    def wait_for_checkpoint(self, sink):
        """Wait until the replay is in the middle of its flights."""
        while sink.load() is None:
            assert self.process.poll() is None, self.wait()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def wait(self):
        return self.process.communicate(timeout=60)[0]


FLIGHTS = 15_000


def test_an_interrupted_run_is_saved_and_goes_on_to_the_same_end(postgres, sink, demo):
    status, _ = demo(flights=FLIGHTS, plain=False)
    assert status == 0
    whole = sink.load()
    sink.clear()
    process = Command(postgres, FLIGHTS, "--no-plain")
    process.wait_for_checkpoint(sink)
    process.interrupt()
    output = process.wait()
    assert process.process.returncode == 130, output
    assert "what was done is saved" in output
    assert "adds them up to the" in output
    saved = sink.load()
    assert 0 < saved[1]["predicted"] < FLIGHTS
    assert sum(state["flights"] for state in saved[0].values()) == saved[1]["seen"]["flights"]
    hint = output.split("To go on: overdrive demo ")[1].splitlines()[0]
    resumed = subprocess.run(
        [sys.executable, "-m", "overdrive", "demo", *shlex.split(hint)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert sink.load() == whole


def interrupt_at(monkeypatch, way, method, *calls):
    """Let some calls of a method of a way be met by a Ctrl-C."""
    usual = getattr(way, method)
    count = 0

    def interrupted(self, argument):
        nonlocal count
        count += 1
        if count in calls:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, argument)

    monkeypatch.setattr(way, method, interrupted)


@pytest.mark.parametrize("method", ["step", "checkpoint"])
def test_a_second_interrupt_ends_at_once_and_keeps_the_last_checkpoint(
    demo, sink, monkeypatch, method
):
    demo(flights=3000, plain=False)
    whole = sink.load()
    with monkeypatch.context() as patch:
        # The second one comes while the first one is being obeyed, in the last checkpoint.
        interrupt_at(patch, Managed, "step", 40)
        interrupt_at(patch, Managed, method, *((40,) if method == "step" else (2,)))
        status, shown = demo(flights=3000, plain=False)
    assert status == 130
    assert "Interrupted again; the last checkpoint is kept. To go on: overdrive demo" in shown
    assert 0 < sink.load()[1]["predicted"] < 3000
    status, _ = demo(flights=3000, plain=False, resume=True)
    assert status == 0
    assert sink.load() == whole


def test_an_interrupt_in_a_plain_way_leaves_it_out(demo, monkeypatch):
    interrupt_at(monkeypatch, Loop, "step", 10)
    status, shown = demo(flights=1500)
    assert status == 130
    assert "Interrupted: the plain replay that was running is left out" in shown
    table = shown.split("The same replay, each way")[1]
    assert "for loop" not in table


def test_the_usual_interrupt_is_back_after_a_run(demo):
    usual = signal.getsignal(signal.SIGINT)
    demo(flights=100, plain=False)
    assert signal.getsignal(signal.SIGINT) is usual
