"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import overdrive
from overdrive.errors import MissingExtraError, OptionError, OverdriveError

__all__ = ["main"]

FAILED = 1
BAD_USE = 2
INTERRUPTED = 130


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
    parser = _Parser(prog="overdrive", description=(overdrive.__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"overdrive {overdrive.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="replay a year of flights through the agents"))
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Replays the 336,776 flights that left New York in 2013 through some 4,000 agents, one for "
        "each aircraft and airport, which predict every delay before they see it. Their states go "
        "to an embedded PostgreSQL. Ctrl-C ends it cleanly."
    )
    parser.add_argument(
        "--flights", type=_positive, metavar="N", help="only the first N flights of the year"
    )
    parser.add_argument(
        "--seed",
        type=_not_negative,
        default=0,
        metavar="N",
        help="order in which the agents of an hour are stepped; must not matter (default: 0)",
    )
    parser.add_argument(
        "--plain",
        action=argparse.BooleanOptionalAction,
        help="also replay with a for loop and a ThreadPoolExecutor (default: without --resume)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the last run ended")
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write the results to FILE")
    parser.add_argument(
        "--data-dir",
        type=_directory,
        metavar="DIR",
        help="where the database is (default: a directory of the user's)",
    )
    parser.set_defaults(command=_demo, name="demo")


def _demo(options: argparse.Namespace) -> int:
    if options.resume and options.plain:
        raise OptionError("--plain and --resume do not go together: the plain ways save no run")
    from overdrive.demo.command import Options, run  # noqa: PLC0415 - needs the extra

    return run(
        Options(
            flights=options.flights,
            seed=options.seed,
            plain=options.plain is not False and not options.resume,
            resume=options.resume,
            json_file=options.json,
            data_dir=options.data_dir,
        )
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, got {text!r}")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got {text!r}")
    return int(text)


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing directory, got {text!r}")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be a file that can be written, got {text!r}")
    return path


def _directory(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    place = next(place for place in (path, *path.parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"must be a directory that can be written or made, got {text!r}"
        )
    return path
