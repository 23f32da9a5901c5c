"""The exceptions of Overdrive that the standard library has no word for."""

import queue

__all__ = [
    "MissingExtraError",
    "OptionError",
    "OverdriveError",
    "PoolExhaustedError",
    "QueueFullError",
    "missing_extra",
]


class OverdriveError(Exception):
    """Base class of the errors that only Overdrive raises."""


class QueueFullError(OverdriveError, queue.Full):
    """An executor with a bounded queue takes no more calls now."""


class MissingExtraError(OverdriveError, ImportError):
    """An optional dependency is needed and not installed."""


class OptionError(OverdriveError, ValueError):
    """An option of the command line does not do; the text says which and why."""


class PoolExhaustedError(OverdriveError, MemoryError):
    """Every block of a memory pool is in use."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Say which extra of the distribution brings a missing package.

    Args:
        package: Name of the missing distribution.
        extra: Name of the extra that depends on it.

    Returns:
        The error, to be raised by the caller.
    """
    return MissingExtraError(
        f'{package} is not installed; run: pip install "overdrive[{extra}]"', name=package
    )
