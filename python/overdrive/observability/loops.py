"""Event loops: how late they are, and what they are busy with when they are very late."""

import asyncio
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from dataclasses import dataclass

from overdrive._core import Histogram

__all__ = ["Block", "LoopWatch"]

BEAT = 0.1
"""Seconds between the beats of a loop."""

PATIENCE = 0.25
"""Seconds by which a beat has to be late before the loop counts as blocked."""

REMEMBERED = 32
DEEPEST = 25
"""Frames of a stack that are kept, innermost ones."""


@dataclass(frozen=True, slots=True)
class Block:
    """A loop that was found blocked.

    Attributes:
        late: By how many seconds its beat was late when it was found.
        stack: Where its thread was, innermost frame last.
        where: The innermost frame as `file:line function`.
    """

    late: float
    stack: str
    where: str


class LoopWatch:
    """Beats in a loop; whoever calls `check` from another thread sees that the beat is late.

    A loop that is stopped between two runs is not late.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lag: Histogram, patience: float = PATIENCE
    ) -> None:
        self._loop = weakref.ref(loop)
        self._lag = lag
        self._patience = patience
        self._thread: int | None = None
        self._due: float | None = None
        self._reported: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = False
        self.blocks: deque[Block] = deque(maxlen=REMEMBERED)

    def start(self) -> None:
        """Begin to beat, from any thread."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._schedule, loop)

    def stop(self) -> None:
        """Beat no longer, from any thread. More calls do nothing."""
        self._stopped = True
        self._due = None
        loop = self._loop()
        if loop is not None and not loop.is_closed() and self._handle is not None:
            loop.call_soon_threadsafe(self._handle.cancel)

    @property
    def is_over(self) -> bool:
        """Whether there is no loop to watch any more."""
        loop = self._loop()
        return self._stopped or loop is None or loop.is_closed()

    def check(self, now: float) -> Block | None:
        """Look whether the beat is late; each block is found once.

        Args:
            now: The time of `time.monotonic`, which event loops go by.
        """
        due, loop = self._due, self._loop()
        if due is None or loop is None or not loop.is_running() or due == self._reported:
            return None
        late = now - due
        frame = sys._current_frames().get(self._thread or 0)
        if late <= self._patience or frame is None:
            return None
        self._reported = due
        summary = traceback.StackSummary.extract(
            traceback.walk_stack(frame), limit=DEEPEST, lookup_lines=False
        )
        inner = summary[0]
        block = Block(
            late,
            "".join(traceback.format_list(summary[::-1])),
            f"{inner.filename}:{inner.lineno} {inner.name}",
        )
        self.blocks.append(block)
        return block

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread = threading.get_ident()
        if not self._stopped:
            due = time.monotonic() + BEAT
            self._handle = loop.call_later(BEAT, self._beat, loop, due)
            self._due = due

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lag.record(max(time.monotonic() - due, 0.0))
        self._schedule(loop)
