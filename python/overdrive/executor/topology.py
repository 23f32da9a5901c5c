"""How many processors this process may use.

Three things can make them fewer than the machine has: the affinity mask of the process, a quota of
processor time (Linux control groups), and hardware threads that share a core.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Topology", "read_topology"]

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Topology:
    """The processors of a process.

    Attributes:
        logical: Hardware threads of the machine.
        usable: Hardware threads in the affinity mask.
        physical: Cores that the usable hardware threads belong to.
        quota: How many processors' worth of time the control group allows; `None` means any.
    """

    logical: int
    usable: int
    physical: int
    quota: float | None

    @property
    def parallelism(self) -> int:
        """How many threads can really run at a time, at least 1."""
        if self.quota is None:
            return self.usable
        return max(1, min(self.usable, math.ceil(self.quota)))

    @property
    def cores(self) -> int:
        """How many threads can compute at a time without sharing a core, at least 1."""
        return max(1, min(self.parallelism, self.physical))


def read_topology(root: Path = _ROOT, mask: Iterable[int] | None = None) -> Topology:
    """Find out how many processors this process may use.

    Args:
        root: Where `proc` and `sys` are mounted; for tests.
        mask: The affinity mask; by default that of the process.
    """
    logical = os.cpu_count() or 1
    processors = sorted(_affinity(logical) if mask is None else mask)
    return Topology(
        logical=logical,
        usable=max(1, len(processors)),
        physical=_physical_cores(root, processors),
        quota=_quota(root),
    )


def _affinity(logical: int) -> Iterable[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(logical)


def _physical_cores(root: Path, processors: list[int]) -> int:
    """Count the cores by package and core number; a processor that tells neither counts as one."""
    cores = set()
    for processor in processors:
        folder = root / f"sys/devices/system/cpu/cpu{processor}/topology"
        package = _read(folder / "physical_package_id")
        core = _read(folder / "core_id")
        cores.add((processor, None) if core is None else (package, core))
    return max(1, len(cores))


def _quota(root: Path) -> float | None:
    """The smallest quota of the process's control group and those around it."""
    quotas = [*_quotas_v2(root), *_quotas_v1(root)]
    return min(quotas, default=None)


def _control_groups(root: Path) -> list[tuple[str, str]]:
    """Pairs of a list of controllers and a path; version 2 has the empty list."""
    lines = (_read(root / "proc/self/cgroup") or "").splitlines()
    fields = [line.split(":", 2) for line in lines]
    return [(field[1], field[2]) for field in fields if len(field) == 3]  # noqa: PLR2004 - columns


def _around(mount: Path, path: str) -> list[Path]:
    """The folder of a group and all those around it, as far as they can be seen from here."""
    folder = mount / path.lstrip("/")
    folders = [folder, *folder.parents]
    return [each for each in folders if each == mount or mount in each.parents]


def _quotas_v2(root: Path) -> Iterable[float]:
    mount = root / "sys/fs/cgroup"
    for controllers, path in _control_groups(root):
        if controllers:
            continue
        for folder in _around(mount, path):
            quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
            if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)


def _quotas_v1(root: Path) -> Iterable[float]:
    for controllers, path in _control_groups(root):
        if "cpu" not in controllers.split(","):
            continue
        for mount in (root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup/cpu,cpuacct"):
            for folder in _around(mount, path):
                quota = _read(folder / "cpu.cfs_quota_us") or ""
                period = _read(folder / "cpu.cfs_period_us") or ""
                if quota.isdigit() and period.isdigit() and int(period) > 0:
                    yield int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
