"""`overdrive completion` writes scripts that complete the commands there are."""

import shutil
import subprocess

import pytest

from overdrive import cli

pytest.importorskip("shtab")

BASH = shutil.which("bash")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_has_every_command_and_option(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    for word in ("demo", "bench", "doctor", "completion", "quick", "flights"):
        assert word in output


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [("overdrive d", {"demo", "doctor"}), ("overdrive bench --q", {"--quick"})],
)
def test_bash_completes_commands_and_options_with_it(capsys, tmp_path, words, expected):
    cli.main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = f"""
        source {tmp_path}/script
        COMP_WORDS=({words}) COMP_CWORD=$(( $(wc -w <<< "{words}") - 1 ))
        "$(complete -p overdrive | sed 's/.*-F \\([^ ]*\\).*/\\1/')" overdrive
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    output = subprocess.run([BASH, "-c", ask], check=True, capture_output=True, text=True).stdout
    assert set(output.split()) == expected


def test_a_shell_that_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["completion", "csh"])
    assert end.value.code == 2
    assert "invalid choice: 'csh'" in capsys.readouterr().err
