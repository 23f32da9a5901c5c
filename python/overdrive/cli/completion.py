"""`overdrive completion`."""

import argparse
import sys
from collections.abc import Callable

from overdrive.errors import missing_extra

__all__ = ["HELP", "NAME", "add", "run"]

NAME = "completion"
HELP = "write what a shell needs to complete this command line"

SHELLS = ("bash", "zsh", "fish")

WHERE = """\
Where it goes:
  bash  overdrive completion bash > ~/.local/share/bash-completion/completions/overdrive
  zsh   overdrive completion zsh > ~/.zfunc/_overdrive   (with ~/.zfunc in $fpath)
  fish  overdrive completion fish > ~/.config/fish/completions/overdrive.fish"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = WHERE
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the script of a shell."""
    try:
        import shtab  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise missing_extra("shtab", "cli") from error
    parser: Callable[[], argparse.ArgumentParser] = options.parser
    sys.stdout.write(shtab.complete(parser(), shell=options.shell) + "\n")
    return 0
