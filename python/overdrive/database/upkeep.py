"""What a node does now and then: replace, check, shrink, report."""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from overdrive.database.slot import Slot

if TYPE_CHECKING:
    from overdrive.database.node import Node

__all__ = ["Upkeep"]

_log = logging.getLogger("overdrive.database.optimized_db")

_TICK_SECONDS = 0.5


class Upkeep:
    """Looks after the connections of a node that nobody uses.

    Args:
        node: Whose connections.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node

    async def run(self) -> None:
        """Replace, check, shrink and report, now and then."""
        checked = self._node._loop.time()
        while True:
            await asyncio.sleep(_TICK_SECONDS * self._node._random.uniform(0.8, 1.2))
            if self._node.config.auto_scaling_enabled:
                self._node._sizing.decide(self._node.sample())
            self.retire_old()
            self.report_leaks()
            self._node._grow()
            if self._node._loop.time() - checked >= self._node.config.health_check_interval:
                checked = self._node._loop.time()
                await self.check_idle()

    def retire_old(self) -> None:
        """Close idle connections that are dead, too old or superfluous."""
        now = self._node._loop.time()
        smallest, keep = self._node.config.min_connections, deque[Slot]()
        surplus = self._node.size - max(self._node.target, smallest)
        # The coldest are on the left.
        while self._node._idle:
            slot = self._node._idle.popleft()
            if slot.connection.is_closed():
                self._node.counts.lost += 1
                self._node._drop(slot)
                continue
            idle = now - slot.idle_since
            superfluous = self._node.size > smallest and (
                surplus > 0 or idle > self._node.config.max_inactive_lifetime
            )
            if superfluous or slot.expires <= now or slot.generation != self._node._generation:
                surplus -= 1
                self._node._retire(slot)
            else:
                keep.append(slot)
        self._node._idle = keep

    async def check_idle(self) -> None:
        """Use connections that were idle for long, so that nothing on the way forgets them."""
        now = self._node._loop.time()
        for slot in list(self._node._idle):
            if (
                slot in self._node._idle
                and now - slot.idle_since >= self._node.config.health_check_interval
            ):
                self._node._idle.remove(slot)
                self._node._use(slot, now)
                end = self._node._loop.time() + self._node.config.health_check_timeout
                if await self._node._is_alive(slot, end):
                    idle_since = slot.idle_since
                    self._node._unuse(slot)
                    self._node._release(slot)
                    if slot in self._node._idle:
                        # A check is no reason to keep it longer.
                        slot.idle_since = idle_since
                        self._node._idle.remove(slot)
                        self._node._idle.appendleft(slot)

    def report_leaks(self) -> None:
        """Tell of connections that were not given back for long, and who took them."""
        threshold = self._node.config.leak_threshold
        if threshold is None:
            return
        now = self._node._loop.time()
        for slot in self._node._in_use:
            if slot.taken_by is not None and not slot.reported and now - slot.taken_at > threshold:
                slot.reported = True
                self._node.counts.leaks += 1
                self._node.leaked = [*self._node.leaked[-99:], slot.taken_by]
                _log.warning(
                    "a connection is held for more than %g s; it was taken at %s",
                    threshold, slot.taken_by,
                )  # fmt: skip
