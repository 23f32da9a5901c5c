"""The connections to one server: who has one, who waits for one, and when there are more.

Everything here happens on one event loop, and every change of state is made without an await in
between, so no lock is needed. A connection is always in exactly one of these places: being opened,
idle, handed to a caller, being cleaned, being checked. A caller that is cancelled at any await
either has no connection yet, or has one that it gives back; opening and cleaning are tasks of the
node's own, which a caller's cancellation does not reach.
"""

import asyncio
import os
import random
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from overdrive._core import attribute_seconds
from overdrive.database import _asyncpg
from overdrive.database._asyncpg import Connection
from overdrive.database.config import DatabaseConfig
from overdrive.database.driver import Hooks
from overdrive.database.errors import (
    ConnectError,
    PoolClosedError,
    PoolMisuseError,
    PoolTimeoutError,
    TooManyWaitersError,
)
from overdrive.database.sizing import Sample, Sizing
from overdrive.database.slot import Counts, Slot
from overdrive.database.tracked import Observer, Tracking
from overdrive.database.upkeep import Upkeep

__all__ = ["Node", "Slot"]

_GROW_SECONDS = 0.01
_LIMIT_SECONDS = 10.0
_HAS_TEMPORARY = "select exists (select from pg_class where relnamespace = pg_my_temp_schema())"
_HERE = str(Path(__file__).parent)


class Node:
    """A pool of connections to one server.

    Args:
        name: For logs.
        config: Sizes and times.
        connect: Opens a connection.
        observer: Is told what statements do.
        hooks: Functions of the user's.
        clean_text: Takes secrets out of texts.
        randomness: For lifetimes and back-off.
    """

    def __init__(
        self,
        name: str,
        config: DatabaseConfig,
        connect: Callable[[], Awaitable[Connection]],
        *,
        observer: Observer,
        hooks: Hooks,
        clean_text: Callable[[str], str],
        randomness: random.Random,
    ) -> None:
        self.name = name
        self.config = config
        self.counts = Counts()
        self.last_error: str | None = None
        self.failures = 0
        self.leaked: list[str] = []
        self._connect = connect
        self._observer = observer
        self._hooks = hooks
        self._clean_text = clean_text
        self._random = randomness
        self.loop = self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._slots: set[Slot] = set()
        self._idle: deque[Slot] = deque()
        self._in_use: set[Slot] = set()
        self._waiters: dict[asyncio.Future[Slot], float] = {}
        self._connecting = 0
        self._generation = 0
        self._limit: tuple[int, float] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sizing = Sizing(config.min_connections, config.max_connections)
        self._consider_handle: asyncio.TimerHandle | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._closing = False
        self._empty: asyncio.Future[None] | None = None

    @staticmethod
    async def call(
        method: str, connection: Connection, query: str, *args: Any, **options: Any
    ) -> Any:
        """Run a statement by asyncpg's own method, without noting what it does."""
        return await getattr(connection.untracked, method)(connection, query, *args, **options)

    # Sizes

    @property
    def size(self) -> int:
        """How many connections are open."""
        return len(self._slots)

    @property
    def idle(self) -> int:
        """How many connections are free."""
        return sum(not slot.connection.is_closed() for slot in self._idle)

    @property
    def in_use(self) -> int:
        """How many connections callers have."""
        return len(self._in_use)

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiters)

    @property
    def target(self) -> int:
        """How many connections are wanted at present."""
        config = self.config
        target = self._sizing.target if config.auto_scaling_enabled else config.max_connections
        if self._limit is not None:
            size, until = self._limit
            if self._loop.time() < until:
                return min(target, max(size, 1))
            self._limit = None
        return target

    @property
    def is_closing(self) -> bool:
        """Whether the node hands out nothing any more."""
        return self._closing

    def sample(self) -> Sample:
        """Describe the present state."""
        now = self._loop.time()
        first = next(iter(self._waiters.values()), now)
        return Sample(
            now, self.size + self._connecting, self.in_use, self.waiting, now - first,
            self.counts.finished,
        )  # fmt: skip

    # Start and end

    async def start(self, first: int) -> None:
        """Open connections, so that a wrong address is an error at once.

        Raises:
            OSError: If the server cannot be reached.
            asyncpg.PostgresError: If it refuses.
        """
        if first:
            self._release(await self._open())
            opened = await asyncio.gather(
                *(self._open() for _ in range(first - 1)), return_exceptions=True
            )
            for one in opened:
                if isinstance(one, Slot):
                    self._release(one)
        self._upkeep = self._loop.create_task(Upkeep(self).run())

    async def close(self) -> None:
        """Wait until all connections are given back, and close them."""
        self.check(closing=True)
        self._closing = True
        self._fail_waiters(PoolClosedError("the pool is closing"))
        try:
            await self._stop_upkeep()
            while self._in_use:
                self._empty = self._loop.create_future()
                await self._empty
            while self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)
            slots, self._slots = list(self._slots), set()
            self._idle.clear()
            await asyncio.gather(*(self._end(slot.connection) for slot in slots))
            self.counts.closed += len(slots)
        except BaseException:
            self.terminate()
            raise

    def terminate(self) -> None:
        """Close all connections at once."""
        self._closing = True
        self._fail_waiters(PoolClosedError("the pool was terminated"))
        if self._upkeep is not None:
            self._upkeep.cancel()
        if self._consider_handle is not None:
            self._consider_handle.cancel()
        for task in self._tasks:
            task.cancel()
        for slot in list(self._slots):
            slot.connection.terminate()
            self._drop(slot)
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def _stop_upkeep(self) -> None:
        if self._consider_handle is not None:
            self._consider_handle.cancel()
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)

    def suspect(self) -> None:
        """Check all idle connections before they are used: one of their kind was found dead."""
        for slot in self._idle:
            slot.idle_since = float("-inf")

    def expire(self) -> None:
        """Replace all present connections as they become free."""
        self._generation += 1

    def check(self, *, closing: bool = False) -> None:
        """Refuse a use that cannot work.

        Raises:
            PoolMisuseError: On another event loop, in a forked child, or after the end.
        """
        if self._pid != os.getpid():
            raise PoolMisuseError(
                "this pool was opened by the parent process; open another after a fork"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise PoolMisuseError(
                "this pool belongs to another event loop; open one per loop"
                " (asyncio.run() makes a new loop each time)"
            )
        if self._closing and not closing:
            raise PoolClosedError("the pool is closed")

    # Taking and giving

    def take_now(self) -> Slot | None:
        """Return a free connection if that is possible without waiting, and fair."""
        self.check()
        if self._waiters:
            return None
        now = self._loop.time()
        while self._idle:
            slot = self._idle.pop()
            if slot.connection.is_closed():
                self.counts.lost += 1
                self._drop(slot)
            elif slot.expires <= now or slot.generation != self._generation:
                self._retire(slot)
            elif now - slot.idle_since > self.config.check_idle_after:
                self._idle.append(slot)
                return None
            else:
                return self._use(slot, now)
        return None

    async def take(self, deadline: float) -> Slot:
        """Return a free connection, in the order of asking.

        Args:
            deadline: When to give up, by the clock of the event loop; connecting and checking are
                included.

        Raises:
            PoolTimeoutError: If there is none before the deadline.
            TooManyWaitersError: If too many wait already.
            Exception: What connecting raised, if the server refuses for good.
        """
        while True:
            slot = self.take_now()
            if slot is None and self._idle and not self._waiters:
                slot = self._use(self._idle.pop(), self._loop.time())
                if not await self._is_alive(slot, deadline):
                    continue
            if slot is None:
                slot = await self._wait(deadline)
            if slot.connection.is_closed():
                self.counts.lost += 1
                self._unuse(slot)
                self._drop(slot)
                continue
            return slot

    async def _wait(self, deadline: float) -> Slot:
        limit = self.config.max_waiting
        if limit is not None and len(self._waiters) >= limit:
            self.counts.refused += 1
            raise TooManyWaitersError(f"{limit} callers wait for a connection already")
        future: asyncio.Future[Slot] = self._loop.create_future()
        began = self._waiters[future] = self._loop.time()
        handle = self._loop.call_at(deadline, self._give_up, future)
        self._grow()
        self._consider_later()
        try:
            slot = await future
        except BaseException:
            self._waiters.pop(future, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                # Handed over, and cancelled before this line: it goes to the next.
                self.give(future.result())
            raise
        finally:
            handle.cancel()
        waited = self._loop.time() - began
        self.counts.waits.add(waited)
        attribute_seconds(queue=waited)
        return slot

    def _give_up(self, future: asyncio.Future[Slot]) -> None:
        if not future.done():
            del self._waiters[future]
            self.counts.timeouts += 1
            future.set_exception(PoolTimeoutError(self._what_stands_in_the_way()))

    def _what_stands_in_the_way(self) -> str:
        text = (
            f"no connection to the {self.name} in time: {self.in_use} of {self.size} are in use,"
            f" {self._connecting} being opened, {self.waiting} other callers wait"
        )
        return text if self.last_error is None else f"{text}; last failure: {self.last_error}"

    async def _is_alive(self, slot: Slot, deadline: float) -> bool:
        """Check a connection in use; if it is dead it is dropped."""
        self.counts.checks += 1
        end = min(deadline, self._loop.time() + self.config.health_check_timeout)
        try:
            async with asyncio.timeout_at(end):
                await self.call("fetchval", slot.connection, "select 1")
        except asyncio.CancelledError:
            self._unuse(slot)
            self._end_now(slot)
            raise
        except (Exception, TimeoutError) as error:  # noqa: BLE001 - whatever it is, it is dead
            self.counts.failed_checks += 1
            self.last_error = self._describe(error)
            self._unuse(slot)
            self._end_now(slot)
            return False
        return True

    def lend(self, slot: Slot, *, where: str | None = None) -> Connection:
        """Wrap a connection that was taken, for the user's hands."""
        slot.taken_by = where if where is not None else _caller()
        slot.proxy = _asyncpg.lend(slot, slot.connection)
        return slot.proxy

    async def prepare(self, slot: Slot, deadline: float) -> None:
        """Run the user's `setup` on a connection that was lent."""
        if self._hooks.setup is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._hooks.setup(slot.proxy)
        except BaseException as error:
            self.end(slot)
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError("setup did not end before the deadline") from error
            raise

    def give(self, slot: Slot, *, own: bool = False) -> "asyncio.Task[None] | None":
        """Take a connection back; returns the task that cleans it, if it must be cleaned.

        Args:
            slot: What was taken.
            own: Whether the pool used it for itself, which no hook hears of.
        """
        if slot not in self._in_use:
            return None
        if slot.proxy is not None:
            _asyncpg.take_back(slot.proxy)
            slot.proxy = None
        self._unuse(slot)
        if slot.connection.is_closed():
            self.counts.lost += 1
            self._end_now(slot)
            return None
        tracking = slot.tracking
        if (
            not tracking.touched
            and (own or self._hooks.reset is None)
            and not slot.connection.is_in_transaction()
        ):
            self.counts.resets_spared += 1
            self._release(slot)
            return None
        return self._spawn(self._clean(slot))

    def end(self, slot: Slot) -> None:
        """Close a connection that was taken, instead of giving it back."""
        if slot in self._in_use:
            if slot.proxy is not None:
                _asyncpg.take_back(slot.proxy)
                slot.proxy = None
            self._unuse(slot)
            self._end_now(slot)

    def _use(self, slot: Slot, now: float) -> Slot:
        slot.uses += 1
        slot.taken_at = now
        slot.reported = False
        self._in_use.add(slot)
        return slot

    def _unuse(self, slot: Slot) -> None:
        slot.taken_by = None
        self._in_use.discard(slot)
        self.counts.finished += 1
        if not self._in_use and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _release(self, slot: Slot) -> None:
        """Give a clean connection to whoever waits the longest, or keep it."""
        now = self._loop.time()
        if (
            self._closing
            or slot.expires <= now
            or slot.generation != self._generation
            or slot.uses >= self.config.max_queries
            or (len(self._slots) > self._sizing.target and self._is_too_large())
        ):
            self._retire(slot)
            return
        while self._waiters:
            future = next(iter(self._waiters))
            del self._waiters[future]
            if not future.done():
                future.set_result(self._use(slot, now))
                return
        slot.idle_since = now
        self._idle.append(slot)

    def _is_too_large(self) -> bool:
        return len(self._slots) > max(self.target, self.config.min_connections)

    async def _clean(self, slot: Slot) -> None:
        """Make a session as new, or close it."""
        connection, tracking = slot.connection, slot.tracking
        connection.tracking = None
        self.counts.resets += 1
        try:
            async with asyncio.timeout(self.config.health_check_timeout):
                if self._hooks.reset is None:
                    await connection.reset()
                else:
                    if connection.is_in_transaction():
                        await connection.execute("ROLLBACK")
                    await self._hooks.reset(connection)
                tracking.strange = tracking.strange and await connection.fetchval(_HAS_TEMPORARY)
        except BaseException as error:
            self.last_error = self._describe(error)
            self._end_now(slot)
            if not isinstance(error, Exception):
                raise
            return
        connection.tracking = tracking
        tracking.clear()
        self._release(slot)

    def _end_now(self, slot: Slot) -> None:
        """Close a connection whose state is unknown."""
        pid = None if slot.connection._protocol is None else slot.connection.get_server_pid()
        slot.connection.terminate()
        self._drop(slot)
        slot.tracking.publish()
        if slot.tracking.doubts:
            self._spawn(self._watch_backend(pid, slot.tracking))
        self._grow()

    async def _watch_backend(self, pid: int | None, tracking: Tracking) -> None:
        """Wait until the server has ended a session that we have lost sight of."""
        deadline = self._loop.time() + 60.0
        try:
            while pid is not None and self._loop.time() < deadline and not self._closing:
                try:
                    slot = await self.take(min(deadline, self._loop.time() + 5.0))
                    try:
                        query = "select exists (select from pg_stat_activity where pid = $1)"
                        alive = await slot.connection.fetchval(query, pid, timeout=5.0)
                    finally:
                        self.give(slot, own=True)
                    if not alive:
                        return
                except Exception as error:  # noqa: BLE001 - looked again
                    self.last_error = self._describe(error)
                await asyncio.sleep(0.1)
        finally:
            tracking.settle()

    def _retire(self, slot: Slot) -> None:
        self._drop(slot)
        self._spawn(self._end(slot.connection))
        self._grow()

    async def _end(self, connection: Connection) -> None:
        try:
            await connection.close(timeout=self.config.health_check_timeout)
        except Exception:  # noqa: BLE001 - it is gone either way
            connection.terminate()

    def _drop(self, slot: Slot) -> None:
        if slot in self._slots:
            self._slots.discard(slot)
            self.counts.closed += 1

    # Growing

    def _grow(self) -> None:
        """Open as many connections as are missing."""
        if self._closing:
            return
        missing = self.config.min_connections - self.size - self._connecting
        wanted = min(
            len(self._waiters) - self._connecting, self.target - self.size - self._connecting
        )
        number = max(missing, wanted)
        if self.failures:
            # While connecting fails, one attempt at a time is enough.
            number = min(number, 1 - self._connecting)
        for _ in range(number):
            self._connecting += 1
            self._spawn(self._open_for_waiters())

    async def _open_for_waiters(self) -> None:
        try:
            while not self._closing:
                try:
                    slot = await self._open()
                except Exception as error:  # noqa: BLE001 - told to those who wait
                    if not self._may_retry(error):
                        return
                else:
                    self.failures = 0
                    self._connecting -= 1
                    self._release(slot)
                    self._connecting += 1
                    return
                await asyncio.sleep(self._back_off())
        finally:
            self._connecting -= 1
            if not self._closing:
                self._loop.call_soon(self._grow)

    def _may_retry(self, error: Exception) -> bool:
        self.failures += 1
        self.counts.failed_connects += 1
        if isinstance(error, ConnectError) or _asyncpg.is_hopeless(error):
            if not self._slots:
                self._fail_waiters(error)
            return bool(self._waiters) and not self._slots
        if _asyncpg.is_limit_reached(error) and self._slots:
            # Those that are still being opened may be let in.
            limit = self.size + self._connecting - 1
            self._limit = (limit, self._loop.time() + _LIMIT_SECONDS)
            self.failures = 0
            return False
        return self._connecting == 1 and (
            bool(self._waiters) or self.size < self.config.min_connections
        )

    def _back_off(self) -> float:
        return float(min(0.05 * 2 ** min(self.failures, 7), 5.0) * self._random.uniform(0.5, 1.0))

    async def _open(self) -> Slot:
        """Open a connection that is in no place yet."""
        began = self._loop.time()
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                connection = await self._connect()
        except TimeoutError:
            self.last_error = f"no answer in {self.config.connect_timeout:g} s"
            raise
        except Exception as error:
            self.last_error = self._describe(error)
            if self.last_error != f"{type(error).__name__}: {error}":
                # Its text has a secret.
                raise ConnectError(
                    f"cannot connect to the {self.name}: {self.last_error}"
                ) from None
            raise
        self.counts.opened += 1
        now = self._loop.time()
        self.counts.connects.add(now - began)
        life = self.config.max_lifetime * self._random.uniform(0.9, 1.0)
        tracking = Tracking(self._observer)
        slot = Slot(connection, tracking, self, now + life, self._generation)
        connection.tracking = tracking
        self._slots.add(slot)
        self.last_error = None
        if self._closing:
            self._end_now(slot)
            raise PoolClosedError("the pool is closed")
        return slot

    def _fail_waiters(self, error: Exception) -> None:
        waiters, self._waiters = self._waiters, {}
        for future in waiters:
            if not future.done():
                future.set_exception(error)

    def _consider_later(self) -> None:
        if self._consider_handle is None and self.config.auto_scaling_enabled:
            self._consider_handle = self._loop.call_later(_GROW_SECONDS, self._consider)

    def _consider(self) -> None:
        self._consider_handle = None
        if self._closing:
            return
        self._sizing.decide(self.sample())
        self._grow()
        if self._waiters:
            self._consider_later()

    # Errors and tasks

    def _describe(self, error: BaseException) -> str:
        return self._clean_text(f"{type(error).__name__}: {error}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # What asyncpg calls when the schema has changed.

    def _drop_statement_cache(self) -> None:
        for slot in self._slots:
            slot.connection._drop_local_statement_cache()

    def _drop_type_cache(self) -> None:
        for slot in self._slots:
            slot.connection._drop_local_type_cache()


def _caller() -> str:
    """Return the file and line outside of this package, and of asyncio, that asked."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(_HERE) or "asyncio" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
