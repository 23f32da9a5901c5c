"""The command line. Each command is a module, which says what it takes and does."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import overdrive
from overdrive.cli import bench, completion, demo, doctor
from overdrive.errors import MissingExtraError, OptionError, OverdriveError

__all__ = ["main"]

FAILED = 1
BAD_USE = 2
INTERRUPTED = 130

COMMANDS = (demo, bench, doctor, completion)
"""In the order of the help; a module has `NAME`, `HELP` and `add(parser)`, which sets `command`."""

EXAMPLES = """\
examples:
  overdrive demo --flights 20000         a part of the year, in a few seconds
  overdrive doctor                       what will be slow here, and why
  overdrive bench --quick threading      does everything run? some first figures
  overdrive bench --json before.json     measure, and later, after a change:
  overdrive bench --compare before.json  what became slower, confirmed by a rerun

Every command has its own --help. The status is 0 if all went well, 1 if something failed, 2 if an
option is wrong or an extra is missing, 130 after Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the name of the program; by default `sys.argv[1:]`.

    Returns:
        The exit status: 2 if an option or what is installed does not do, 130 after Ctrl-C, else
        that of the command.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (MissingExtraError, OptionError) as error:
        sys.stderr.write(f"overdrive {options.name}: {error}\n")
        return BAD_USE
    except (OverdriveError, OSError) as error:
        sys.stderr.write(f"overdrive {options.name}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"overdrive {options.name}: interrupted\n")
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="overdrive",
        description=(overdrive.__doc__ or "").splitlines()[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"overdrive {overdrive.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.NAME, help=module.HELP)
        command.set_defaults(name=module.NAME, parser=_parser)
        module.add(command)
    return parser
