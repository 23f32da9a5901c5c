"""What a manager is doing, and what it has done."""

import math
import threading
from collections.abc import Callable
from typing import Any

from overdrive._core import Histogram

__all__ = ["Activity", "Counts"]


class Activity:
    """How many pieces of work are queued or running."""

    def __init__(self) -> None:
        self._pieces = 0
        self._changed = threading.Condition()

    @property
    def pieces(self) -> int:
        """How many pieces of work are queued or running."""
        return self._pieces

    def enter(self) -> None:
        """Count a piece of work that begins to be queued or to run."""
        with self._changed:
            self._pieces += 1

    def leave(self) -> None:
        """Count one that ended."""
        with self._changed:
            # In a forked child, what was running belongs to the parent.
            self._pieces = max(0, self._pieces - 1)
            if self._pieces == 0:
                self._changed.notify_all()

    def wait(self, timeout: float | None, help_out: Callable[[], bool]) -> None:
        """Wait until nothing is queued or running; without a timeout, do meanwhile what is queued.

        With one this thread only waits: nobody knows how long a piece of work takes.

        Raises:
            TimeoutError: After `timeout` seconds.
        """
        while timeout is None and self._pieces and help_out():
            pass
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces == 0, timeout):
                raise TimeoutError(
                    f"{self._pieces} pieces of work still pending after {timeout!r} seconds"
                )


class Counts:
    """What a manager has done. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps = 0
        self._batches = 0
        self._seconds = 0.0
        self.pace = math.inf
        """Seconds that a step takes lately."""
        self.feed = Histogram("agents", fed=True)
        self._failures = 0
        self._messages = 0
        self._dead_letters = 0

    def renew(self) -> None:
        """Forget a lock that a thread of the parent may have held at a fork."""
        self._lock = threading.Lock()

    def add(self, steps: int, seconds: float, failures: int) -> None:
        """Count a batch of steps and how many of them failed."""
        with self._lock:
            self._steps += steps
            self._batches += 1
            self._seconds += seconds
            pace = seconds / steps
            self.pace = pace if self.pace == math.inf else self.pace + (pace - self.pace) / 8
            self._failures += failures
        self.feed.note(seconds / steps, steps, failures)

    def fail(self, failures: int) -> None:
        """Count operations other than steps that failed."""
        with self._lock:
            self._failures += failures

    def send(self, reached: int, dead: int) -> None:
        """Count messages that reached an agent, and those that did not."""
        with self._lock:
            self._messages += reached
            self._dead_letters += dead

    def summary(self) -> dict[str, Any]:
        """Return all of it under the names of `get_statistics`."""
        with self._lock:
            return {
                "agents_processed": self._steps,
                "batches_processed": self._batches,
                "avg_batch_size": self._steps / self._batches if self._batches else 0.0,
                "avg_processing_time_ms": (
                    1000.0 * self._seconds / self._steps if self._steps else 0.0
                ),
                "failures": self._failures,
                "messages_sent": self._messages,
                "dead_letters": self._dead_letters,
            }
