"""What grows, according to several censuses, and who holds it."""

import gc
import sys
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from overdrive.observability.census import Census, ContainerKey, name_of
from overdrive.observability.growth import LEAST_SAMPLES, Trend, trend

__all__ = ["LeakDetection", "find_leaks", "referrer_chain"]

Severity = Literal["low", "medium", "high"]
Kind = Literal["objects", "container", "untracked", "native"]

CONFIDENCE = 0.99
LEAST_GROWTH = 100
"""Objects, or members of a container: less is no leak yet."""

LEAST_SHARE = 0.1
"""Growth in proportion to what is there: less is no leak yet."""

LEAST_BLOCKS = 10_000
"""Growth of what Python's allocator has given out that no type and no container explains."""

LEAST_BLOCKS_SHARE = 0.05

LEAST_BYTES = 16 * 2**20
"""Growth of resident memory that nothing of Python's explains."""

DEPTH = 4
"""How many referrers of referrers are followed."""


@dataclass(frozen=True, slots=True)
class LeakDetection:
    """Something that grows and does not stop.

    Attributes:
        object_type: The type of the objects, or of the container. `untracked objects` are those
            that cannot be part of a cycle, as strings; `native memory` is none of Python's.
        count: How many there are now: objects, members, blocks, or bytes.
        growth: How many of those came in the time that was looked at.
        slope_per_second: Growth per second.
        confidence: How unlikely it is that this is chance, 0 to 1.
        severity: By growth in proportion to what is there.
        kind: What it is that grows.
        key: Which container it is, if it is one.
        referrers: Who holds one of them, the nearest first; empty unless that was asked for.
    """

    object_type: str
    count: int
    growth: int
    slope_per_second: float
    confidence: float
    severity: Severity
    kind: Kind
    key: ContainerKey | None = None
    referrers: tuple[str, ...] = ()


def find_leaks(censuses: Sequence[Census]) -> list[LeakDetection]:
    """Return what grows, largest growth first.

    A leak grows by so much that it matters, surely, and to the end of the time looked at. Warm-ups
    and caches that fill up level off; bursts come and go.
    """
    if len(censuses) < LEAST_SAMPLES:
        return []
    leaks = [*_types(censuses), *_containers(censuses)]
    if not leaks:
        leaks.extend(_untracked(censuses))
    leaks.extend(_native(censuses))
    return sorted(leaks, key=lambda leak: -leak.growth)


def _types(censuses: Sequence[Census]) -> Iterable[LeakDetection]:
    for name, count in censuses[-1].counts.items():
        if count >= LEAST_GROWTH:
            found = _grows(censuses, [census.counts.get(name, 0) for census in censuses])
            if found is not None:
                yield _leak(name, count, found, "objects")


def _containers(censuses: Sequence[Census]) -> Iterable[LeakDetection]:
    for key, count in censuses[-1].containers.items():
        # Before it was large, it was smaller than that.
        seen = [census for census in censuses if key in census.containers]
        if len(seen) >= LEAST_SAMPLES:
            found = _grows(seen, [census.containers[key] for census in seen])
            if found is not None:
                yield _leak(key[0], count, found, "container", key)


def _untracked(censuses: Sequence[Census]) -> Iterable[LeakDetection]:
    """Find objects that the collector does not see, by the blocks of memory that they are in."""
    blocks = trend([census.at for census in censuses], [census.blocks for census in censuses])
    least = max(LEAST_BLOCKS, LEAST_BLOCKS_SHARE * censuses[0].blocks)
    if _is_sure(blocks) and blocks.growth >= least:
        yield _leak("untracked objects", censuses[-1].blocks, blocks, "untracked")


def _native(censuses: Sequence[Census]) -> Iterable[LeakDetection]:
    """Find resident memory that grows while Python's allocator has given out no more."""
    times = [census.at for census in censuses]
    resident = trend(times, [census.rss_bytes for census in censuses])
    blocks = trend(times, [census.blocks for census in censuses])
    first = max(censuses[0].blocks, 1)
    python_grows = blocks.confidence >= CONFIDENCE and blocks.growth / first >= LEAST_BLOCKS_SHARE
    if _is_sure(resident) and resident.growth >= LEAST_BYTES and not python_grows:
        yield _leak("native memory", censuses[-1].rss_bytes, resident, "native")


def _grows(censuses: Sequence[Census], values: Sequence[int]) -> Trend | None:
    if values[-1] - values[0] < LEAST_GROWTH:
        return None  # most do not grow: spare them the rest
    found = trend([census.at for census in censuses], values)
    if not _is_sure(found) or found.growth < max(LEAST_GROWTH, LEAST_SHARE * values[0]):
        return None
    return found


def _is_sure(found: Trend) -> bool:
    return found.confidence >= CONFIDENCE and found.steady


def _leak(
    name: str, count: int, found: Trend, kind: Kind, key: ContainerKey | None = None
) -> LeakDetection:
    share = found.growth / max(count, 1)
    severity: Severity = "high" if share >= 0.5 else "medium" if share >= 0.2 else "low"  # noqa: PLR2004
    return LeakDetection(
        object_type=name,
        count=count,
        growth=round(found.growth),
        slope_per_second=found.slope,
        confidence=found.confidence,
        severity=severity,
        kind=kind,
        key=key,
    )


def referrer_chain(target: object, ignore: Iterable[object] = ()) -> tuple[str, ...]:
    """Say who holds an object, who holds that, and so on up to a module.

    Looks at all objects at each step, hence takes seconds if there are many millions.
    """
    ignored = {id(other) for other in ignore} | {id(target)}
    chain: list[str] = []
    for _ in range(DEPTH):
        name = _global_name(target)
        holder = _holder(target, ignored) if name is None else None
        if name is not None:
            chain.append(name)
        if holder is None:
            break
        chain.append(_describe(holder, target))
        ignored.add(id(holder))
        target = holder
    return tuple(chain)


def _global_name(target: object) -> str | None:
    """Return the name of an object in a module, if it has one."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType):
            for attribute, value in list(module.__dict__.items()):
                if value is target:
                    return f"{name}.{attribute}"
    return None


def _holder(target: object, ignored: set[int]) -> Any:
    referrers = gc.get_referrers(target)
    ignored.add(id(referrers))
    for other in referrers:
        if id(other) not in ignored and not isinstance(other, types.FrameType):
            return other
    return None


def _describe(holder: object, target: object) -> str:
    if isinstance(holder, dict):
        for key, value in list(holder.items()):
            if value is target:
                # Only what has no code of the user's is shown.
                return f"dict[{key!r:.40}]" if type(key) in {str, int} else "dict"
        return "dict"
    if isinstance(holder, (list, tuple)):
        return f"{type(holder).__name__} of {len(holder)}"
    return name_of(type(holder))
