"""What can be seen of the process that Overdrive runs in, and what that means for it."""

import gc
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import overdrive
from overdrive import _core
from overdrive.executor import read_topology

__all__ = ["Advice", "Examination", "examine"]

FEW_FILES = 1024
"""Files that may be open: each connection is one."""

SMALL_SHM = 64 * 2**20

Severity = Literal["broken", "slow", "note"]


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to know.

    Attributes:
        severity: Whether it does not work, is slow, or is only good to know.
        what: What there is.
        remedy: What can be done.
    """

    severity: Severity
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Attributes:
        facts: By heading, name and value.
        extras: For each extra, what is missing of it; nothing if it is installed.
        advice: What follows from that.
    """

    facts: Mapping[str, Mapping[str, Any]]
    extras: Mapping[str, tuple[str, ...]]
    advice: tuple[Advice, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Return all of it for people."""
        lines: list[str] = []
        for heading, facts in self.facts.items():
            lines += [
                heading,
                *(f"  {name:26}{_shown(value)}" for name, value in facts.items()),
                "",
            ]
        lines += ["extras", *(_extra(*one) for one in self.extras.items()), ""]
        for one in self.advice:
            lines.append(f"{one.severity}: {one.what}")
            if one.remedy:
                lines.append(f"  -> {one.remedy}")
        if not self.advice:
            lines.append("Nothing to complain about.")
        return "\n".join(lines) + "\n"


def examine() -> Examination:
    """Look at this process. Nothing is started and nothing changed."""
    facts = {
        "overdrive": _package(),
        "interpreter": _interpreter(),
        "processors": _processors(),
        "memory": _memory(),
        "limits": _limits(),
    }
    extras = {name: tuple(_missing(name)) for name in _extras()}
    return Examination(facts, extras, tuple(_advice(facts, extras)))


def _package() -> dict[str, Any]:
    return {
        "version": overdrive.__version__,
        "native module": str(Path(_core.__file__)) if _core.__file__ else "built in",
        "event loop": "uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
    }


def _interpreter() -> dict[str, Any]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "GIL": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "switch interval (ms)": 1000 * sys.getswitchinterval(),
        "collector thresholds": gc.get_threshold(),
        "development mode": sys.flags.dev_mode,
        "debug build": hasattr(sys, "gettotalrefcount"),
        "traced": sys.gettrace() is not None or sys.getprofile() is not None,
    }


def _processors() -> dict[str, Any]:
    topology = read_topology()
    return {
        "of the machine": topology.logical,
        "in the affinity mask": topology.usable,
        "cores of those": topology.physical,
        "quota": topology.quota,
        "threads at a time": topology.parallelism,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _memory() -> dict[str, Any]:
    return {
        "allocator of Python": os.environ.get("PYTHONMALLOC") or "default",
        "allocator of the process": _allocator(os.environ.get("LD_PRELOAD", "")),
        "limit (bytes)": _memory_limit(Path("/sys/fs/cgroup")),
    }


def _allocator(preloaded: str) -> str:
    named = re.search(r"jemalloc|mimalloc|tcmalloc", preloaded)
    return named[0] if named else (platform.libc_ver()[0] or "that of the system")


def _memory_limit(control_group: Path) -> int | None:
    """Return the limit of the control group (version 2, then 1), or `None`."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (control_group / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        # Version 1 has no word for no limit, but a very large number.
        return int(text) if text.isdigit() and int(text) < 2**60 else None
    return None


def _limits() -> dict[str, Any]:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return {"open files": None}
    return {"open files": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}


def _extras() -> list[str]:
    try:
        return sorted(set(metadata.metadata("overdrive").get_all("Provides-Extra") or []) - {"all"})
    except metadata.PackageNotFoundError:
        return []


def _missing(extra: str) -> Iterator[str]:
    """Yield the packages of an extra that are not installed."""
    for line in metadata.requires("overdrive") or ():
        requirement, _, marker = line.partition(";")
        if not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker):
            continue
        name = re.split(r"[\[<>=!~ ]", requirement.strip())[0]
        if name == "overdrive":
            inner = re.search(r"\[(.*)\]", requirement)
            for other in inner[1].split(",") if inner else ():
                yield from _missing(other.strip())
        elif not _is_installed(name):
            yield name


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _advice(
    facts: Mapping[str, Mapping[str, Any]], extras: Mapping[str, tuple[str, ...]]
) -> Iterator[Advice]:
    yield from _about_threads(facts["interpreter"], facts["processors"])
    yield from _about_interpreter(facts["interpreter"])
    yield from _about_limits(facts)
    for name, missing in extras.items():
        if missing:
            remedy = f'pip install "overdrive[{name}]"'
            yield Advice("note", f"the extra {name} lacks {', '.join(missing)}", remedy)


def _about_threads(
    interpreter: Mapping[str, Any], processors: Mapping[str, Any]
) -> Iterator[Advice]:
    if interpreter["GIL"]:
        yield Advice(
            "note",
            "with the GIL, pure Python code does not run in parallel on any threads",
            "write step_batch for agents, use numpy, or a free-threaded interpreter",
        )
    if processors["threads at a time"] == 1:
        yield Advice(
            "slow",
            "one processor: threads only help where they wait",
            "start the process with a larger affinity mask or quota, if there is one",
        )
    elif processors["threads at a time"] < processors["of the machine"]:
        yield Advice(
            "note",
            f"{processors['threads at a time']} of {processors['of the machine']} processors may "
            "be used; pools are as large as that",
        )
    load = processors["load"] or 0.0
    if load > processors["threads at a time"]:
        yield Advice(
            "slow",
            f"{load} programs want {processors['threads at a time']} processors: what is "
            "measured now is the others",
            "measure when the machine is idle",
        )


def _about_interpreter(interpreter: Mapping[str, Any]) -> Iterator[Advice]:
    if interpreter["debug build"]:
        yield Advice("slow", "a debug build of Python runs several times slower", "use another")
    if interpreter["traced"]:
        yield Advice("slow", "a tracer or profiler runs in every call", "run without it")
    if interpreter["development mode"]:
        yield Advice("slow", "development mode checks every allocation", "run without -X dev")
    if interpreter["collector thresholds"][0] == 0:
        yield Advice(
            "slow",
            "the garbage collector is off: cycles are never freed",
            "gc.enable(), and GarbageCollectionTuner for its thresholds",
        )


def _about_limits(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[Advice]:
    files = facts["limits"]["open files"]
    if files is not None and files < FEW_FILES:
        yield Advice(
            "slow",
            f"only {files} files may be open, and each connection is one",
            "ulimit -n 4096 before the start",
        )
    if facts["memory"]["allocator of Python"] == "malloc":
        yield Advice("slow", "PYTHONMALLOC=malloc makes small objects dear", "unset it")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield Advice(
            "note", "run by root, the embedded PostgreSQL runs as the user pgserver, who must be "
            "able to enter its directory",
        )  # fmt: skip


def _extra(name: str, missing: tuple[str, ...]) -> str:
    return f"  {name:26}{'missing: ' + ', '.join(missing) if missing else 'installed'}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
