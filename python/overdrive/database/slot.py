"""One connection of a pool, and what has happened to all of them."""

from dataclasses import dataclass, field
from typing import Any

from overdrive.database._asyncpg import Connection
from overdrive.database._histogram import Histogram
from overdrive.database.tracked import Tracking

__all__ = ["Counts", "Slot"]


@dataclass(slots=True, eq=False)
class Slot:
    """One connection and what is known about it.

    Attributes:
        connection: Of asyncpg.
        tracking: What it has done since it was last clean.
        _pool: The node it belongs to, where asyncpg looks for it.
        expires: When it is too old.
        generation: Which of the node's.
        uses: How often it was handed out.
        idle_since: When it was given back.
        taken_at: When it was handed out.
        taken_by: The line that asked for it, if a user holds it.
        reported: Whether it was reported as a leak.
        proxy: What the user holds.
    """

    connection: Connection
    tracking: Tracking
    _pool: Any
    expires: float
    generation: int
    uses: int = 0
    idle_since: float = 0.0
    taken_at: float = 0.0
    taken_by: str | None = None
    reported: bool = False
    proxy: Connection = None


@dataclass(slots=True)
class Counts:
    """What has happened on one node so far."""

    opened: int = 0
    closed: int = 0
    lost: int = 0
    failed_connects: int = 0
    resets: int = 0
    resets_spared: int = 0
    finished: int = 0
    timeouts: int = 0
    refused: int = 0
    leaks: int = 0
    checks: int = 0
    failed_checks: int = 0
    waits: Histogram = field(default_factory=Histogram)
    connects: Histogram = field(default_factory=Histogram)
