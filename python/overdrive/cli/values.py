"""Values of options, each refused with what is wrong with it."""

import argparse
import os
from pathlib import Path

__all__ = ["directory", "existing_file", "new_file", "not_negative", "positive"]


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, got {text!r}")
    return int(text)


def not_negative(text: str) -> int:
    """Read a whole number from 0 on."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got {text!r}")
    return int(text)


def existing_file(text: str) -> Path:
    """Read the name of a file that can be read."""
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"must be a file that can be read, got {text!r}")
    return path


def new_file(text: str) -> Path:
    """Read the name of a file that can be written."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing directory, got {text!r}")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be a file that can be written, got {text!r}")
    return path


def directory(text: str) -> Path:
    """Read the name of a directory that can be written or made."""
    path = Path(text).expanduser().absolute()
    place = next(place for place in (path, *path.parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"must be a directory that can be written or made, got {text!r}"
        )
    return path
