"""A double-ended queue with the verbs of work stealing, safe from any thread."""

from overdrive._core import WorkStealingQueue

__all__ = ["WorkStealingQueue"]
