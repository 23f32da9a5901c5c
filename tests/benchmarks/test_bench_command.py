"""`overdrive bench` measures, shows, writes, compares, and says by its status how that went."""

import json
import re
import subprocess
import sys

import made
import pytest

from overdrive import cli
from overdrive.benchmarks import Results, command, runner
from overdrive.benchmarks.measure import baseline, ours


async def sound(record):
    await record.compare("work", ours("us", lambda: 1.0), baseline("plain", lambda: 2.0))


async def broken(_):
    raise ZeroDivisionError("division by zero")


@pytest.fixture
def suites(monkeypatch):
    found = {"api": {"sound": sound}}
    monkeypatch.setattr(runner, "SUITES", found)
    monkeypatch.setattr(command, "SUITES", found)
    return found


def bench(capsys, *arguments):
    status = cli.main(["bench", *map(str, arguments)])
    output, errors = capsys.readouterr()
    assert errors == ""
    return status, output


def test_a_benchmark_is_measured_and_shown_by_its_name():
    """As a user does it, in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "overdrive", "bench", "--quick", "lock_contention"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "lock_contention" in process.stdout
    assert re.search(r"dict and Lock +[\d.]+ (us|ms) .*x \(.* to .*\)", process.stdout)


def test_without_names_all_suites_are_run(suites, capsys):
    suites["memory"] = {"other": sound}
    status, output = bench(capsys, "--quick")
    assert status == 0
    assert "sound" in output
    assert "other" in output


def test_results_report_and_page_are_written_and_can_be_read_again(suites, capsys, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{command.page.BEGIN}\n{command.page.END}\n")
    files = tmp_path / "results.json", tmp_path / "report.html"
    status, _ = bench(capsys, "--quick", "--json", files[0], "--html", files[1], "--page", page)
    assert status == 0
    saved = Results.load(files[0])
    assert saved.environment["command"] == "overdrive bench --quick"
    assert json.loads(files[0].read_text())["benchmarks"][0]["name"] == "sound"
    first = files[1].read_text(), page.read_text()
    status, output = bench(capsys, "--read", files[0], "--html", files[1], "--page", page)
    assert (status, (files[1].read_text(), page.read_text())) == (0, first)
    assert "2.00x (2.00 to 2.00)" in output


def test_runs_of_several_files_are_shown_as_one(capsys, tmp_path):
    both = made.results()
    for name, results in (("a", both.benchmarks[:2]), ("b", both.benchmarks[2:4])):
        environment = both.environment | {"command": f"overdrive bench {name}"}
        Results(environment, results).save(tmp_path / name)
    status, _ = bench(
        capsys, "--read", tmp_path / "a", "--read", tmp_path / "b", "--json", tmp_path / "c"
    )
    assert status == 0
    merged = Results.load(tmp_path / "c")
    assert merged.benchmarks == both.benchmarks[:4]
    assert merged.environment["command"] == "overdrive bench a\n$ overdrive bench b"


def test_a_benchmark_that_fails_is_shown_and_is_the_status(suites, capsys):
    suites["api"]["broken"] = broken
    status, output = bench(capsys, "--quick")
    assert status == 1
    assert "failed api/broken: ZeroDivisionError: division by zero" in output
    assert "2.00x" in output


def dearer(cost):
    values = iter(range(10_000))

    async def sound(record):
        def steady(scale):
            return lambda: scale * (1 + (next(values) * 37 % 11) / 1000)

        await record.compare("work", ours("us", steady(cost)), baseline("plain", steady(2.0)))

    return sound


@pytest.mark.parametrize(("cost", "status"), [(1.0, 0), (1.1, 1)])
def test_a_confirmed_slowdown_is_the_status_too(suites, capsys, tmp_path, cost, status):
    suites["api"]["sound"] = dearer(1.0)
    assert bench(capsys, "--json", tmp_path / "before.json")[0] == 0
    suites["api"]["sound"] = dearer(cost)
    found, output = bench(capsys, "--compare", tmp_path / "before.json")
    assert found == status
    expected = "confirmed by a rerun" if status else "nothing became slower"
    assert expected in output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flying"], "there is no suite or benchmark 'flying'; suites: "),
        (["--read", "RESULTS", "api"], "--read shows what was measured: leave out names"),
        (["--compare", "nowhere.json"], "--compare: must be a file that can be read"),
        (["--json", "nowhere/results.json"], "--json: must be a file in an existing directory"),
        (["--read", "RESULTS", "--page", "RESULTS"], "has no lines"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(capsys, tmp_path, arguments, message):
    saved = tmp_path / "results.json"
    made.results().save(saved)
    try:
        status = cli.main(["bench", *(str(saved) if a == "RESULTS" else a for a in arguments)])
    except SystemExit as end:
        status = end.code
    _, errors = capsys.readouterr()
    assert status == 2
    (line,) = errors.splitlines()
    assert message in line


def test_a_file_that_is_no_results_is_named(capsys, tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert cli.main(["bench", "--read", str(path)]) == 1
    assert "other.json holds no results" in capsys.readouterr().err
