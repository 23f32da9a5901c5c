"""Decides how many threads an executor should have: a pure function of samples.

The controller never looks at how long tasks take. It looks at where the time of the threads went:

- *computing*: processor time of the threads, or waiting for a processor, over their wall time;
- *waiting for the interpreter*: measured by a thread that wants it at random moments;
- *blocked*: the rest, while a task runs.

More threads help only if there is a queue and the threads are blocked most of the time. Threads
that compute share the processors, and threads that hold the interpreter lock share that; there,
another thread adds nothing but switches.

The size that keeps the processors busy follows from the blocked fraction (Goetz et al., Java
Concurrency in Practice, 2006, section 8.2): `cores / (1 - blocked)`. It is approached by doubling
(by four if the threads do little but wait), so that a change is followed within a few samples, and
left slowly, part of the way after several samples that agree, so that a steady load has a steady
size. A growth that brings nothing is taken back.
"""

import enum
import math
from dataclasses import dataclass, replace

__all__ = ["Bounds", "Controller", "Sample", "Workload", "decide"]

SATURATED = 0.5
"""From this fraction of knocks on, the interpreter lock is the bottleneck."""
BUSY = 0.93
"""From this fraction of the cores on, the processors are the bottleneck."""
MOSTLY_BLOCKED = 0.75
MOSTLY_COMPUTING = 0.75
AGREEING = 5
"""So many samples must ask for a smaller size before it is made smaller by a quarter."""
AGREEING_TO_COMPETE = 2
"""So many must, if the threads only compete; then it is made smaller by half."""
DEADBAND = 0.2
"""A size that is too large by less than this fraction is right."""
STEP = 0.1
"""A growth by less than this fraction is not worth it."""
GAIN = 0.05
"""A throughput that rose by less than this fraction did not rise."""
JUSTIFIED = 1.25
"""By this factor a size may exceed what the throughput has grown in proportion to."""
TRIAL_TASKS = 2
"""So many tasks for each thread must have ended before a larger size is judged."""
TRIAL_SECONDS = 5.0
"""When so much time has passed, it is judged even if fewer have ended."""
RETRY_SECONDS = 5.0
"""When so much time has passed, a size that brought nothing may be tried again."""


class Workload(enum.Enum):
    """Where the time of the threads goes."""

    IDLE = "idle"
    CPU_BOUND = "cpu_bound"
    GIL_BOUND = "gil_bound"
    MIXED = "mixed"
    IO_BOUND = "io_bound"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured since the sample before.

    Attributes:
        seconds: How long that was.
        completed: Tasks that ended.
        queued: Tasks that wait, now.
        busy: Seconds of threads that were inside a task, summed over the threads.
        computing: Seconds in which the threads computed or were ready to, summed over the threads.
        gil_wait: Fraction of the knocks at the interpreter that were not let in at once; 0.0 on a
            free-threaded build.
    """

    seconds: float
    completed: int
    queued: int
    busy: float
    computing: float
    gil_wait: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the controller may choose from.

    Attributes:
        smallest: The least number of threads.
        largest: The greatest number of threads.
        cores: How many threads can really compute at a time.
    """

    smallest: int
    largest: int
    cores: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A growth whose worth is not known yet.

    Attributes:
        size: The size before it.
        rate: Tasks per second before it.
        seconds: How long it has lasted, without the first sample.
        completed: Tasks that have ended since then.
        begun: Whether the first sample is over, which still shows the ramp.
    """

    size: int
    rate: float
    seconds: float = 0.0
    completed: int = 0
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Controller:
    """What the controller remembers from one sample to the next.

    Attributes:
        size: How many threads there should be.
        workload: What the last sample showed.
        shrink_votes: How many samples in a row asked for fewer threads.
        trial: The growth that is on trial.
        ceiling: A size beyond which growth brought nothing; `None` if there is none.
        patience: Seconds until the ceiling is forgotten.
    """

    size: int
    workload: Workload = Workload.IDLE
    shrink_votes: int = 0
    trial: Trial | None = None
    ceiling: int | None = None
    patience: float = 0.0


def decide(controller: Controller, sample: Sample, bounds: Bounds) -> Controller:
    """Take a sample into account and say how many threads there should be."""
    workload = classify(sample, bounds)
    if workload is not controller.workload:
        # Another load: what was learned about the last one does not hold.
        controller = replace(controller, workload=workload, ceiling=None, trial=None)
    controller = _judge_trial(_wear_off(controller, sample), sample)
    wanted = _wanted(controller, sample, bounds)
    if wanted > controller.size:
        return _grow(controller, wanted, sample)
    return _vote(controller, wanted)


def start(bounds: Bounds, workload: Workload = Workload.MIXED) -> int:
    """The size to begin with: as many threads as cores, half as many again, or twice as many."""
    factor = {Workload.CPU_BOUND: 1.0, Workload.GIL_BOUND: 1.0, Workload.IO_BOUND: 2.0}
    size = math.ceil(factor.get(workload, 1.5) * bounds.cores)
    return max(bounds.smallest, min(bounds.largest, size))


def classify(sample: Sample, bounds: Bounds) -> Workload:
    """Say where the time of the threads went."""
    if sample.busy <= 0.01 * sample.seconds and sample.queued == 0:
        return Workload.IDLE
    if sample.gil_wait >= SATURATED:
        return Workload.GIL_BOUND
    computing = _share(sample.computing, sample.busy)
    if computing >= MOSTLY_COMPUTING or _is_saturated(sample, bounds):
        return Workload.CPU_BOUND
    if 1.0 - computing >= MOSTLY_BLOCKED:
        return Workload.IO_BOUND
    return Workload.MIXED


def _is_saturated(sample: Sample, bounds: Bounds) -> bool:
    """Whether the threads want all the processor time there is."""
    return sample.computing >= BUSY * bounds.cores * sample.seconds


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def _rate(sample: Sample) -> float:
    return sample.completed / sample.seconds if sample.seconds > 0 else 0.0


def _wanted(controller: Controller, sample: Sample, bounds: Bounds) -> int:
    """The size that keeps what is scarce busy, and is no larger than what there is to do."""
    match controller.workload:
        case Workload.IDLE:
            wanted = min(controller.size, start(bounds))
        case Workload.GIL_BOUND:
            wanted = min(controller.size, bounds.cores)
        case _:
            computing = _share(sample.computing, sample.busy)
            # The share is uncertain: of threads that hardly wait, one for each core is right.
            share = 1.0 if computing >= MOSTLY_COMPUTING else computing
            useful = math.ceil(bounds.cores / max(share, bounds.cores / bounds.largest))
            wanted = min(useful, _demand(sample))
            if _is_saturated(sample, bounds):
                wanted = min(wanted, controller.size)
            if sample.queued > 0 and computing < MOSTLY_COMPUTING:
                # They do not compete much, and there is work for each.
                wanted = max(wanted, controller.size)
    return max(bounds.smallest, min(wanted, bounds.largest))


def _demand(sample: Sample) -> int:
    """How many threads there is work for."""
    inside = sample.busy / sample.seconds if sample.seconds > 0 else 0.0
    return max(1, math.ceil(inside) + sample.queued)


def _wear_off(controller: Controller, sample: Sample) -> Controller:
    """Forget a ceiling after a while."""
    if controller.ceiling is None:
        return controller
    patience = controller.patience - sample.seconds
    return replace(
        controller, patience=patience, ceiling=controller.ceiling if patience > 0 else None
    )


def _judge_trial(controller: Controller, sample: Sample) -> Controller:
    """Take a growth back if it brought nothing, once enough has been seen of it."""
    trial = controller.trial
    if trial is None:
        return controller
    if not trial.begun:
        return replace(controller, trial=replace(trial, begun=True))
    trial = replace(
        trial,
        seconds=trial.seconds + sample.seconds,
        completed=trial.completed + sample.completed,
    )
    if trial.completed < TRIAL_TASKS * controller.size and trial.seconds < TRIAL_SECONDS:
        return replace(controller, trial=trial)
    # With an empty queue the throughput is what is asked for, and says nothing about the size.
    justified = _justified(trial) if sample.queued > 0 else math.inf
    if controller.size <= JUSTIFIED * justified:
        return replace(controller, trial=None)
    size = math.ceil(justified)
    return replace(controller, size=size, ceiling=size, trial=None, patience=RETRY_SECONDS)


def _justified(trial: Trial) -> float:
    """The size that the throughput has grown in proportion to."""
    if trial.rate <= 0.0 or trial.seconds <= 0.0:
        return math.inf
    gain = trial.completed / trial.seconds / trial.rate
    return trial.size * (gain if gain >= 1.0 + GAIN else 1.0)


def _grow(controller: Controller, wanted: int, sample: Sample) -> Controller:
    """Grow towards the wanted size, if tasks wait for threads."""
    factor = 4 if controller.workload is Workload.IO_BOUND else 2
    size = min(wanted, factor * controller.size)
    if controller.ceiling is not None:
        size = min(size, controller.ceiling)
    enough = max(controller.size + 1, math.ceil(controller.size * (1.0 + STEP)))
    if sample.queued == 0 or size < enough:
        return replace(controller, shrink_votes=0)
    trial = controller.trial or Trial(size=controller.size, rate=_rate(sample))
    return replace(controller, size=size, shrink_votes=0, trial=trial)


def _vote(controller: Controller, wanted: int) -> Controller:
    """Shrink part of the way once enough samples agree that there are too many."""
    if wanted > controller.size * (1.0 - DEADBAND):
        return replace(controller, shrink_votes=0)
    competing = controller.workload in {Workload.GIL_BOUND, Workload.CPU_BOUND}
    votes = controller.shrink_votes + 1
    if votes < (AGREEING_TO_COMPETE if competing else AGREEING):
        return replace(controller, shrink_votes=votes)
    surplus = controller.size - wanted
    size = controller.size - max(1, surplus // (2 if competing else 4))
    return replace(controller, size=size, shrink_votes=0)
