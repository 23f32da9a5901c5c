"""The one place that touches psutil."""

import os
from dataclasses import dataclass

from overdrive.errors import missing_extra

try:
    import psutil
except ImportError as error:
    raise missing_extra("psutil", "observability") from error

__all__ = ["System", "SystemReader", "memory_usage", "resident_bytes"]


@dataclass(frozen=True, slots=True)
class System:
    """What the operating system says. Seconds and switches only grow.

    Attributes:
        cpu_seconds: Processor time of this process.
        processors: How many processors it may use.
        system_cpu_seconds: Processor time of everything on the machine.
        system_processors: How many processors there are.
        memory_rss_bytes: Resident memory of this process.
        memory_usage: Per cent of the machine's memory in use.
        thread_count: Threads of this process, native ones included.
        voluntary_switches: How often its threads waited for something.
        involuntary_switches: How often its threads were made to wait.
    """

    cpu_seconds: float
    processors: int
    system_cpu_seconds: float
    system_processors: int
    memory_rss_bytes: int
    memory_usage: float
    thread_count: int
    voluntary_switches: int
    involuntary_switches: int


class SystemReader:
    """Reads what the operating system says about this process."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def read(self) -> System:
        """Read it now."""
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            switches = self._process.num_ctx_switches()
            rss = self._process.memory_info().rss
            threads = self._process.num_threads()
        everything = psutil.cpu_times()
        idle = everything.idle + getattr(everything, "iowait", 0.0)
        # Time of guests is in that of users already.
        guests = getattr(everything, "guest", 0.0) + getattr(everything, "guest_nice", 0.0)
        return System(
            cpu_seconds=cpu.user + cpu.system,
            processors=_processors(),
            system_cpu_seconds=sum(everything) - idle - guests,
            system_processors=os.cpu_count() or 1,
            memory_rss_bytes=rss,
            memory_usage=psutil.virtual_memory().percent,
            thread_count=threads,
            voluntary_switches=switches.voluntary,
            involuntary_switches=switches.involuntary,
        )


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def memory_usage() -> float:
    """Return how many per cent of the machine's memory are in use."""
    return float(psutil.virtual_memory().percent)
