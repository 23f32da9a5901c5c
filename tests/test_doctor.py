"""`overdrive doctor` says what there is and what follows from it, and changes nothing."""

import gc
import json
import sys
import threading

import pytest

from overdrive import cli
from overdrive.cli import examination
from overdrive.cli.examination import examine

FINE = {
    "interpreter": {
        "GIL": False,
        "debug build": False,
        "traced": False,
        "development mode": False,
        "collector thresholds": (700, 10, 10),
    },
    "processors": {"threads at a time": 4, "of the machine": 4, "load": 0.5},
    "memory": {"allocator of Python": "default"},
    "limits": {"open files": 20_000},
}


def advice(part="", extras=None, **changed):
    facts = {name: {**values, **(changed if name == part else {})} for name, values in FINE.items()}
    found = examination._advice(facts, extras or {})
    return [one for one in found if "pgserver" not in one.what]


def test_it_shows_facts_extras_and_advice_and_leaves_everything_as_it_was(capsys):
    before = gc.get_threshold(), sys.getswitchinterval(), threading.active_count()
    assert cli.main(["doctor"]) == 0
    assert (gc.get_threshold(), sys.getswitchinterval(), threading.active_count()) == before
    output, errors = capsys.readouterr()
    assert errors == ""
    for heading in ("overdrive", "interpreter", "processors", "memory", "limits", "extras"):
        assert f"{heading}\n" in output


def test_the_same_comes_as_json(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["overdrive"]["version"]
    assert {"api", "database", "observability"} <= set(found["extras"])


def test_there_is_nothing_to_say_of_a_machine_that_is_fine():
    assert advice() == []
    found = examination.Examination(FINE, {"api": ()}, ())
    assert found.as_text().endswith("Nothing to complain about.\n")


@pytest.mark.parametrize(
    ("part", "changed", "severity", "what"),
    [
        ("interpreter", {"GIL": True}, "note", "does not run in parallel"),
        ("interpreter", {"debug build": True}, "slow", "debug build"),
        ("interpreter", {"traced": True}, "slow", "tracer or profiler"),
        ("interpreter", {"development mode": True}, "slow", "development mode"),
        ("interpreter", {"collector thresholds": (0, 10, 10)}, "slow", "collector is off"),
        ("processors", {"threads at a time": 1}, "slow", "one processor"),
        ("processors", {"threads at a time": 2}, "note", "2 of 4 processors"),
        ("processors", {"load": 9.0}, "slow", "9.0 programs want 4 processors"),
        ("limits", {"open files": 256}, "slow", "only 256 files"),
        ("memory", {"allocator of Python": "malloc"}, "slow", "PYTHONMALLOC=malloc"),
    ],
)
def test_what_makes_things_slow_is_said_with_a_remedy(part, changed, severity, what):
    (found,) = advice(part, **changed)
    assert found.severity == severity
    assert what in found.what
    assert found.remedy or "pools are as large" in found.what


def test_what_an_extra_lacks_is_named_with_the_command_that_brings_it():
    (found,) = advice(extras={"api": ("brotli", "zstandard"), "cli": ()})
    assert found.what == "the extra api lacks brotli, zstandard"
    assert found.remedy == 'pip install "overdrive[api]"'


def test_extras_of_extras_are_looked_into(monkeypatch):
    monkeypatch.setattr(examination, "_is_installed", lambda package: package != "asyncpg")
    found = examine().extras
    assert "asyncpg" in found["database"]
    assert "asyncpg" in found["demo"]
    assert found["api"] == ()


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1073741824\n"}, 2**30),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "536870912"}, 2**29),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ({}, None),
    ],
)
def test_the_limit_of_the_control_group_is_read(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert examination._memory_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("preloaded", "name"),
    [("/usr/lib/libjemalloc.so.2", "jemalloc"), ("/opt/libmimalloc.so", "mimalloc")],
)
def test_an_allocator_that_is_preloaded_is_named(preloaded, name):
    assert examination._allocator(preloaded) == name


def test_what_is_broken_is_the_status(monkeypatch, capsys):
    broken = examination.Examination({}, {}, (examination.Advice("broken", "it"),))
    monkeypatch.setattr(examination, "examine", lambda: broken)
    assert cli.main(["doctor"]) == 1
    assert "broken: it" in capsys.readouterr().out
