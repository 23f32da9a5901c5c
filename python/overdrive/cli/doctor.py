"""`overdrive doctor`."""

import argparse
import json
import sys

from overdrive.cli import examination

__all__ = ["HELP", "NAME", "add", "run"]

NAME = "doctor"
HELP = "say what is installed, what this machine allows, and what will be slow and why"

FAILED = 1


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Looks at the interpreter, the processors and limits of this process, and the extras, and "
        "says what will be slow, why, and what can be done. Starts and changes nothing. The status "
        "is 1 if something does not work."
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Examine this process, and return 1 if something does not work."""
    found = examination.examine()
    if options.json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    else:
        sys.stdout.write(found.as_text())
    return FAILED if any(one.severity == "broken" for one in found.advice) else 0
