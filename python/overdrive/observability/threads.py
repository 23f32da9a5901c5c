"""Where the threads of the process are, as seen now and then."""

import linecache
import sys
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

__all__ = ["Crowd", "ThreadSamples", "where"]

LOOKS = 60
"""How many looks are remembered."""

CROWD = 3
"""How many threads at one lock are a crowd."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Threads that were seen waiting for a lock at one place.

    Attributes:
        place: The place as `file:line function`.
        threads: How many were there on average, of the looks that found a crowd.
        share: In which share of all looks there was a crowd.
    """

    place: str
    threads: float
    share: float


def where(frame: FrameType) -> str:
    """Return the place of a frame as `file:line function`."""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} {code.co_name}"


class ThreadSamples:
    """Looks at the innermost frames of all threads. One thread looks, any may ask."""

    def __init__(self) -> None:
        self._looks: deque[Counter[str]] = deque(maxlen=LOOKS)

    def look(self, frames: Mapping[int, FrameType] | None = None) -> None:
        """Look once.

        Args:
            frames: Frames by thread; by default those of all threads but the calling one.
        """
        if frames is None:
            frames = sys._current_frames()
            me = threading.get_ident()
            frames = {thread: frame for thread, frame in frames.items() if thread != me}
        self._looks.append(Counter(where(f) for f in frames.values() if _waits_for_a_lock(f)))

    def crowd(self) -> Crowd | None:
        """Return the place at which a crowd was seen most often, if there was one."""
        seen: Counter[str] = Counter()
        threads: Counter[str] = Counter()
        looks = list(self._looks)
        for look in looks:
            for place, count in look.items():
                if count >= CROWD:
                    seen[place] += 1
                    threads[place] += count
        if not seen:
            return None
        place, crowds = seen.most_common(1)[0]
        return Crowd(place, threads[place] / crowds, crowds / len(looks))


_LIBRARY = (threading.__file__,)
"""Threads that wait in here wait for work: conditions, events and queues are made of it."""


def _waits_for_a_lock(frame: FrameType) -> bool:
    """Say whether the line of a frame enters a context or acquires something.

    A native lock has no frame of its own, so the innermost frame is that of whoever wants it.
    """
    filename = frame.f_code.co_filename
    if filename in _LIBRARY:
        return False
    line = linecache.getline(filename, frame.f_lineno).strip()
    return line.startswith("with ") or ".acquire(" in line
