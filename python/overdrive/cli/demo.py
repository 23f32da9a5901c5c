"""`overdrive demo`."""

import argparse

from overdrive.cli.values import directory, new_file, not_negative, positive
from overdrive.errors import OptionError

__all__ = ["HELP", "NAME", "add", "run"]

NAME = "demo"
HELP = "replay a year of flights through the agents"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Replays the 336,776 flights that left New York in 2013 through some 4,000 agents, one for "
        "each aircraft and airport, which predict every delay before they see it. Their states go "
        "to an embedded PostgreSQL. Ctrl-C ends it cleanly."
    )
    parser.add_argument(
        "--flights", type=positive, metavar="N", help="only the first N flights of the year"
    )
    parser.add_argument(
        "--seed",
        type=not_negative,
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
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the results to FILE")
    parser.add_argument(
        "--data-dir",
        type=directory,
        metavar="DIR",
        help="where the database is (default: a directory of the user's)",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    if options.resume and options.plain:
        raise OptionError("--plain and --resume do not go together: the plain ways save no run")
    from overdrive.demo import command  # noqa: PLC0415 - needs the extra

    return command.run(
        command.Options(
            flights=options.flights,
            seed=options.seed,
            plain=options.plain is not False and not options.resume,
            resume=options.resume,
            json_file=options.json,
            data_dir=options.data_dir,
        )
    )
