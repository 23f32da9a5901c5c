"""`overdrive bench`."""

import argparse
import shlex

from overdrive.cli.values import existing_file, new_file

__all__ = ["HELP", "NAME", "add", "run"]

NAME = "bench"
HELP = "measure every part beside the plain way to do the same"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Measures every part with real servers, databases and agents: beside the plain way to do "
        "the same and the best other library, in turns, as ratios with confidence intervals. "
        "All suites take about a quarter of an hour."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="suites (threading, database, api, memory, agent_coordination, system, end_to_end) or "
        "single benchmarks, such as query_caching (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="do the least that shows that everything runs"
    )
    parser.add_argument(
        "--compare",
        type=existing_file,
        metavar="FILE",
        help="look for what became slower since the results in FILE; status 1 if a rerun agrees",
    )
    parser.add_argument(
        "--read",
        type=existing_file,
        action="append",
        default=[],
        metavar="FILE",
        help="show the results in FILE instead of measuring; may be given several times",
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the results to FILE")
    parser.add_argument("--html", type=new_file, metavar="FILE", help="write a report to FILE")
    parser.add_argument(
        "--page",
        type=existing_file,
        metavar="FILE",
        help="write the results between the marks of FILE, a page of the documentation",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmarks and return the exit status."""
    from overdrive.benchmarks import command  # noqa: PLC0415 - needs the extra

    quick = ["--quick"] if options.quick else []
    return command.run(
        command.Options(
            names=options.names,
            quick=options.quick,
            compare=options.compare,
            read=options.read,
            json_file=options.json,
            html_file=options.html,
            page_file=options.page,
            command=shlex.join(["overdrive", "bench", *quick, *options.names]),
        )
    )
