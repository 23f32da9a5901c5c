"""The thread that measures an adaptive executor and applies what the controller decides."""

import sys
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from overdrive import _core
from overdrive.executor.controller import Bounds, Controller, Sample, Workload, decide

if TYPE_CHECKING:
    from overdrive.executor.adaptive import AdaptiveConfig, AdaptiveThreadPool

__all__ = ["Governor", "HoldingProfile", "ThreadClock"]

KNOCK_SECONDS = 0.01
"""How often the thread wants the interpreter, to see whether it is let in."""
AT_ONCE_SECONDS = 0.0001
"""Who waits no longer has not waited for the interpreter."""
KNOCKS_PER_SAMPLE = 5
IDLE_SAMPLES = 10
"""After so many samples without a task the thread sleeps until there is one."""
MOST_THREADS = 16
"""Of more threads than about this, some are asked for their time, and stand for all."""
GIL_HOLDERS = 2
"""So many tasks that hold the interpreter lock may run at a time: one, and one to follow it."""


@dataclass(slots=True)
class HoldingProfile:
    """Which functions hold the interpreter lock, as far as can be seen from outside.

    When a thread that wants the interpreter is let in at once, none of the tasks that run at that
    moment holds it. A function that holds it is hardly ever seen to run at such a moment; one that
    releases it is, now and then, even if others hold it at other times.
    """

    enough: int = 8
    seldom: float = 0.2
    _seen: dict[int, list[int]] = field(default_factory=dict)

    def note(self, tags: Iterable[int], *, let_in: bool) -> None:
        """Note what ran while somebody wanted the interpreter."""
        for tag in set(tags) - {0}:
            counts = self._seen.setdefault(tag, [0, 0])
            counts[0] += 1
            counts[1] += let_in
            if counts[0] > 8 * self.enough:
                # What was seen long ago counts less.
                counts[0] //= 2
                counts[1] //= 2

    def holding(self) -> list[int]:
        """The functions that were seen often enough and hardly ever without the lock."""
        return [
            tag
            for tag, (seen, free) in self._seen.items()
            if seen >= self.enough and free < self.seldom * seen
        ]


class Governor:
    """Measures one executor and sets its size, on a thread of its own. Does not keep it alive."""

    def __init__(
        self, pool: "AdaptiveThreadPool", bounds: Bounds, config: "AdaptiveConfig"
    ) -> None:
        self._pool = weakref.ref(pool)
        self._bounds = bounds
        self._resizes = config.cpu_aware_sizing
        self._has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        self._profile = HoldingProfile() if config.gil_aware_scheduling and self._has_gil else None
        self._holding: list[int] = []
        self._sampler = pool._sampler()
        self._clock = ThreadClock()
        self.controller = Controller(size=pool._limit)
        self.grown = 0
        self.shrunk = 0
        if self._profile is not None:
            pool._limit_holders(GIL_HOLDERS)

    def start(self, name: str) -> threading.Thread:
        """Begin to measure."""
        thread = threading.Thread(target=self._govern, name=name)
        thread.start()
        return thread

    def _govern(self) -> None:
        idle = IDLE_SAMPLES
        last = None
        while True:
            if idle >= IDLE_SAMPLES:
                idle, last = 0, self._sampler.sample(None)
            knocks = self._knock() if last is not None else []
            if last is None or not knocks or not self._judge(last, knocks):
                return
            last = knocks[-1]
            idle = idle + 1 if self.controller.workload is Workload.IDLE else 0

    def _knock(self) -> list[_core.CallSample]:
        """Take some samples; an empty list means the end."""
        knocks = []
        for _ in range(KNOCKS_PER_SAMPLE):
            sample = self._sampler.sample(KNOCK_SECONDS)
            if sample is None:
                return []
            knocks.append(sample)
        return knocks

    def _judge(self, before: _core.CallSample, knocks: list[_core.CallSample]) -> bool:
        pool = self._pool()
        if pool is None:
            return False
        self._learn(pool, knocks)
        sample = self._sample(pool, before, knocks)
        decided = decide(self.controller, sample, self._bounds)
        self.grown += decided.size > self.controller.size
        self.shrunk += decided.size < self.controller.size
        if decided.size != self.controller.size and self._resizes:
            pool._resize(decided.size)
        self.controller = decided
        return True

    def _sample(
        self,
        pool: "AdaptiveThreadPool",
        before: _core.CallSample,
        knocks: list[_core.CallSample],
    ) -> Sample:
        after = knocks[-1]
        shut_out = sum(not self._let_in(knock) for knock in knocks) / len(knocks)
        return Sample(
            seconds=after.time - before.time,
            completed=after.started - before.started,
            queued=after.queued,
            busy=max(0.0, after.run - before.run),
            computing=self._clock.advance(pool._threads),
            gil_wait=shut_out if self._has_gil else 0.0,
        )

    def _let_in(self, knock: _core.CallSample) -> bool:
        """Whether the interpreter was free: a lock that is held is given up after an interval."""
        return not self._has_gil or knock.knock_wait < 0.3 * sys.getswitchinterval()

    def _learn(self, pool: "AdaptiveThreadPool", knocks: list[_core.CallSample]) -> None:
        if self._profile is None:
            return
        for knock in knocks:
            self._profile.note(knock.running, let_in=knock.knock_wait < AT_ONCE_SECONDS)
        holding = sorted(self._profile.holding())
        if holding != self._holding:
            self._holding = holding
            pool._set_holding(holding)

    def stats(self) -> dict[str, Any]:
        """Say what was decided so far."""
        return {
            "size": self.controller.size,
            "workload": self.controller.workload.value,
            "grown": self.grown,
            "shrunk": self.shrunk,
            "cores": self._bounds.cores,
            "gil_holding_functions": len(self._holding),
        }


class ThreadClock:
    """For how long some threads wanted a processor, whether they got one or had to wait for it.

    A thread that waits for a processor is not blocked: another thread would only wait as well.
    """

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._known: set[int] = set()
        self._process = time.process_time()

    def advance(self, threads: Iterable[threading.Thread]) -> float:
        """Return for how many seconds, in sum, since the call before.

        Where the system does not tell it of single threads, the time of the process is taken.
        """
        before, self._process = self._process, time.process_time()
        numbers = sorted(thread.native_id for thread in threads if thread.native_id is not None)
        some = numbers[:: 1 + len(numbers) // MOST_THREADS]
        seen = dict(zip(some, _core.thread_seconds(some), strict=True))
        if some and not any(seen.values()):
            return self._process - before
        used = sum(now - self._before(number, now) for number, now in seen.items())
        self._last, self._known = seen, set(numbers)
        return max(0.0, used) * len(numbers) / max(1, len(some))

    def _before(self, number: int, now: float) -> float:
        """What a thread had used at the last call; one that was not there then, nothing."""
        if now == 0.0:
            return 0.0
        return self._last.get(number, now if number in self._known else 0.0)
