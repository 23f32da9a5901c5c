"""What an executor says about itself."""

from dataclasses import dataclass

from overdrive._core import CallSampler, HistogramSnapshot

__all__ = ["Durations", "ExecutorStats", "LaneStats", "TaskTotals", "WaitSummary"]


@dataclass(frozen=True, slots=True)
class WaitSummary:
    """How some durations are distributed, in seconds; quantiles are at most an eighth too long."""

    count: int
    total: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """How long the tasks of one priority waited and ran, in seconds."""

    tasks: int
    queue_wait: float
    max_queue_wait: float
    run: float


@dataclass(frozen=True, slots=True)
class LaneStats(TaskTotals):
    """What the tasks of one key did, and how many wait."""

    queued: int


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """What an executor has done since it was made.

    Attributes:
        workers: Threads alive.
        parked: Of those, the ones that sleep.
        limit: How many may be awake at a time.
        queued: Tasks that wait; an estimate while tasks run.
        submitted: Tasks accepted.
        started: Tasks that a thread began.
        steals: Times that a thread took tasks from another thread's queue.
        parks: Times that a thread went to sleep.
        expired: Tasks that did not run because their deadline had passed.
        queue_wait: From the submission until a thread began the task.
        run: From the begin of the task until it returned.
        gil_wait: Until a thread got the interpreter, each time it wanted it to run tasks. Close to
            zero on a free-threaded build.
        priorities: The tasks whose priority is not zero, by priority.
    """

    workers: int
    parked: int
    limit: int
    queued: int
    submitted: int
    started: int
    steals: int
    parks: int
    expired: int
    queue_wait: WaitSummary
    run: WaitSummary
    gil_wait: WaitSummary
    priorities: dict[int, TaskTotals]


class Durations:
    """Reads the durations of an executor, also when it is gone.

    Attributes:
        sampler: That of the executor; another one in the child of a fork.
    """

    def __init__(self) -> None:
        self.sampler: CallSampler | None = None

    def __call__(self) -> dict[str, HistogramSnapshot]:
        """Return how long calls waited and ran, and threads waited for the interpreter."""
        names = ("queue_wait", "run", "interpreter_wait")
        if self.sampler is None:
            return {}
        return dict(zip(names, self.sampler.durations(), strict=True))
