"""Parts of the process that say what they do, for whoever monitors it.

A part announces itself when it is made. Nothing is sent from then on: it counts into a native
histogram, and who monitors reads that at its own interval. A part is not kept alive; what it had
counted when it was dropped is kept.
"""

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from overdrive._core import Histogram, HistogramSnapshot

__all__ = ["Kind", "Source", "announce", "durations", "errors", "live"]

Kind = Literal["api", "database", "agents", "executor"]
Durations = Mapping[str, HistogramSnapshot]
T = TypeVar("T")


class Source:
    """One part that was announced.

    Attributes:
        name: Its kind, with a number if there were others of that kind before.
        kind: What it does.
        histogram: Where it records, if it does so natively.
    """

    def __init__(
        self,
        kind: Kind,
        part: T,
        figures: Callable[[T], Mapping[str, float]],
        more: Callable[[], Durations] | None,
    ) -> None:
        number = next(_numbers[kind])
        self.name = kind if number == 1 else f"{kind}-{number}"
        self.kind = kind
        self.histogram = Histogram("" if kind == "executor" else kind, fed=True)
        self._figures: Callable[[Any], Mapping[str, float]] = figures
        self._more = more
        # A local name, as a part may outlive those of the module when the interpreter ends.
        gone = _gone
        self._part = weakref.ref(part, lambda _: gone.append(self))

    def figures(self) -> Mapping[str, float]:
        """Return what the part says about this moment; nothing if it is gone."""
        part = self._part()
        return {} if part is None else self._figures(part)

    def durations(self) -> dict[str, HistogramSnapshot]:
        """Return what it has recorded since the process began, by what that was."""
        if self._more is not None:
            return dict(self._more())
        return {self.kind: self.histogram.snapshot()}


_numbers: dict[Kind, "itertools.count[int]"] = {
    kind: itertools.count(1) for kind in ("api", "database", "agents", "executor")
}
_live: dict[int, Source] = {}
_gone: deque[Source] = deque()
"""Sources whose part is gone. Appended to by the garbage collector, hence without a lock."""
_kept: dict[str, HistogramSnapshot] = {}
_kept_errors: dict[str, float] = {}
_lock = threading.Lock()


def announce(
    kind: Kind,
    part: T,
    figures: Callable[[T], Mapping[str, float]],
    more: Callable[[], Durations] | None = None,
) -> Histogram:
    """Announce a part and return where it records durations.

    Args:
        kind: What it does.
        part: The part, which is not kept alive.
        figures: Says from the part how things are; called by any thread, at intervals.
        more: Says what was recorded, if that is elsewhere; it must not refer to the part.
    """
    source = Source(kind, part, figures, more)
    _live[id(source)] = source
    return source.histogram


def live() -> list[Source]:
    """Return the sources whose part is alive."""
    with _lock:
        _fold()
        return list(_live.values())


def durations() -> dict[str, HistogramSnapshot]:
    """Return what all parts have recorded since the process began, those that are gone too."""
    with _lock:
        _fold()
        merged = dict(_kept)
        for source in list(_live.values()):
            _merge(merged, source)
    return merged


def errors() -> dict[str, float]:
    """Return how many of those ended with an error, by kind."""
    with _lock:
        _fold()
        merged = dict(_kept_errors)
        for source in list(_live.values()):
            merged[source.kind] = merged.get(source.kind, 0.0) + source.histogram.errors
    return merged


def _merge(merged: dict[str, HistogramSnapshot], source: Source) -> None:
    for name, snapshot in source.durations().items():
        merged[name] = merged.get(name, HistogramSnapshot()) + snapshot


def _fold() -> None:
    """Keep what those have recorded that are gone."""
    while _gone:
        source = _gone.popleft()
        if _live.pop(id(source), None) is not None:
            _merge(_kept, source)
            count = source.histogram.errors
            _kept_errors[source.kind] = _kept_errors.get(source.kind, 0.0) + count


def _begin_again_after_fork() -> None:
    """Leave what was recorded, and a lock that may be held, to the parent."""
    global _lock  # noqa: PLW0603 - it may be held by a thread that is gone
    _lock = threading.Lock()
    _kept.clear()
    _kept_errors.clear()
    for source in list(_live.values()):
        source.histogram._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_after_fork)
