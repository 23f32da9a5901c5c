"""Results of queries, kept until a table they depend on changes.

The promise: once a change has been committed through the pool, no read that begins later is
answered with rows from before. A result is stored only if nothing it depends on was invalidated
since the query began, and if no change to it is in doubt, as it is when the answer to a commit was
lost. Invalidation happens when a change is known to be committed, and whenever that is not known.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from overdrive.database._asyncpg import Record
from overdrive.database.analysis import EVERYTHING

__all__ = ["QueryCache"]

Rows = list[Any]
Row = tuple[int, int]
"""A row of a table, by the value of its primary key."""

Load = Callable[[], Awaitable[tuple[Rows, bool]]]

# Modules whose classes a row may hold; what a codec of the user's makes is not known.
_UNCHANGING = frozenset({"datetime", "decimal", "uuid", "ipaddress", "asyncpg.types",
                         "asyncpg.pgproto.types", "asyncpg.pgproto.pgproto"})  # fmt: skip
_MANY_ROWS = 100_000
_PLAIN = frozenset({str, int, float, bytes, bool, type(None)})


@dataclass(slots=True, eq=False)
class _Entry:
    rows: Rows
    expires: float
    tables: frozenset[int]
    row: "Row | None"


@dataclass(slots=True, eq=False)
class _Flight:
    task: "asyncio.Task[Rows]"
    token: object
    waiters: int = 0


@dataclass(slots=True)
class Counts:
    """What has happened so far."""

    hits: int = 0
    misses: int = 0
    joined: int = 0
    stored: int = 0
    refused: int = 0
    invalidations: int = 0
    flushes: int = 0
    expired: int = 0
    evicted: int = 0


class QueryCache:
    """Keeps results, and lets identical queries that run at the same time run once.

    An event loop owns it; it is not safe under threads.

    Args:
        size: How many results are kept; 0 is none.
        ttl: How long one is used, in seconds.
        max_rows: A result with more rows is not kept.
        clock: Tells the time.
    """

    def __init__(
        self, size: int, ttl: float, *, max_rows: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counts = Counts()
        self.open = True
        self._size = size
        self._ttl = ttl
        self._max_rows = max_rows
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._by_table: dict[int, set[Hashable]] = {}
        self._by_row: dict[Row, set[Hashable]] = {}
        self._whole: dict[int, set[Hashable]] = {}
        self._flights: dict[Hashable, _Flight] = {}
        self._moves: Counter[int] = Counter()
        self._table_moves: Counter[int] = Counter()
        self._row_moves: Counter[Row] = Counter()
        self._epoch = 0
        self._doubts: Counter[int] = Counter()
        self._doubts_about_all = 0

    def __len__(self) -> int:
        """Return how many results are kept."""
        return len(self._entries)

    def get(self, key: Hashable) -> Rows | None:
        """Return a kept result as a new list, or `None`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._remove(key, entry)
            self.counts.expired += 1
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        return entry.rows.copy()

    async def load(
        self,
        key: Hashable,
        tables: frozenset[int],
        load: Load,
        ttl: float | None = None,
        *,
        row: Row | None = None,
    ) -> Rows:
        """Run a query, together with everyone who asks the same since the last change.

        If one of them is cancelled, the others still get the result; if all are, the query is.

        Args:
            key: What tells queries apart.
            tables: What the result depends on.
            load: Runs the query; says too whether the result may be kept.
            ttl: How long the result may be used; `None` is as long as this cache's others.
            row: The row of the only table that the result depends on, if it does on one only.
        """
        self.counts.misses += 1
        token = self._token(tables, row)
        flight = self._flights.get(key)
        if flight is None or flight.token != token:
            entry = _Entry([], self._ttl if ttl is None else ttl, tables, row)
            work = self._fly(key, entry, load, token)
            flight = _Flight(asyncio.get_running_loop().create_task(work), token)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        else:
            self.counts.joined += 1
        flight.waiters += 1
        try:
            rows = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiters == 1 and not flight.task.done():
                flight.task.cancel()
                self._land(key, flight)
            raise
        finally:
            flight.waiters -= 1
        return rows.copy()

    def invalidate(self, effects: frozenset[int] | None) -> None:
        """Drop all results that depend on these tables."""
        self.counts.invalidations += 1
        if effects is EVERYTHING:
            self.flush()
            return
        for table in effects:
            self._moves[table] += 1
            self._table_moves[table] += 1
            self._drop(self._by_table.get(table))

    def invalidate_row(self, row: Row) -> None:
        """Drop all results that depend on this row, or on more of its table than one row."""
        self.counts.invalidations += 1
        if len(self._row_moves) > _MANY_ROWS:
            self.flush()
        self._moves[row[0]] += 1
        self._row_moves[row] += 1
        self._drop(self._by_row.get(row))
        self._drop(self._whole.get(row[0]))

    def _drop(self, keys: set[Hashable] | None) -> None:
        for key in tuple(keys or ()):
            self._remove(key, self._entries[key])

    def flush(self) -> None:
        """Drop all results."""
        self.counts.flushes += 1
        self._epoch += 1
        self._entries.clear()
        for index in (self._by_table, self._by_row, self._whole):
            index.clear()
        for moves in (self._moves, self._table_moves, self._row_moves):
            moves.clear()

    def doubt(self, effects: frozenset[int] | None) -> None:
        """Keep no results that depend on these tables until `settle`."""
        self.invalidate(effects)
        if effects is EVERYTHING:
            self._doubts_about_all += 1
        else:
            self._doubts.update(effects)

    def settle(self, effects: frozenset[int] | None) -> None:
        """End a doubt."""
        if effects is EVERYTHING:
            self._doubts_about_all -= 1
        else:
            self._doubts.subtract(effects)
            self._doubts = +self._doubts
        self.invalidate(effects)

    def _token(self, tables: frozenset[int], row: Row | None) -> object:
        """Return what differs from now on if what a result depends on changes."""
        if row is not None:
            return self._epoch, self._table_moves.get(row[0]), self._row_moves.get(row)
        return self._epoch, sum(self._moves.get(table, 0) for table in tables)

    async def _fly(self, key: Hashable, entry: _Entry, load: Load, token: object) -> Rows:
        rows, may_keep = await load()
        if (
            may_keep
            and self.open
            and self._size
            and len(rows) <= self._max_rows
            and token == self._token(entry.tables, entry.row)
            and not self._doubts_about_all
            and self._doubts.keys().isdisjoint(entry.tables)
            and all(_is_unchanging(row) for row in rows)
        ):
            entry.rows = rows
            entry.expires += self._clock()
            self._store(key, entry)
        else:
            self.counts.refused += 1
        return rows

    def _land(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            # Also when nobody is there any more to see the error.
            flight.task.exception()

    def _store(self, key: Hashable, entry: _Entry) -> None:
        old = self._entries.get(key)
        if old is not None:
            self._remove(key, old)
        self._entries[key] = entry
        self.counts.stored += 1
        for index, place in self._places(entry):
            index.setdefault(place, set()).add(key)
        while len(self._entries) > self._size:
            oldest = next(iter(self._entries))
            self._remove(oldest, self._entries[oldest])
            self.counts.evicted += 1

    def _remove(self, key: Hashable, entry: _Entry) -> None:
        del self._entries[key]
        for index, place in self._places(entry):
            keys = index.get(place)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del index[place]

    def _places(self, entry: _Entry) -> Iterator[tuple[dict[Any, set[Hashable]], Any]]:
        """Yield where an entry is found when something changes."""
        for table in entry.tables:
            yield self._by_table, table
            if entry.row is None:
                yield self._whole, table
        if entry.row is not None:
            yield self._by_row, entry.row


def _is_unchanging(value: Any) -> bool:
    """Whether nobody can change a row, or a value in it, that others see too."""
    if type(value) in _PLAIN or type(value).__module__ in _UNCHANGING:
        return True
    if isinstance(value, Record):
        return all(_is_unchanging(part) for part in value.values())
    return type(value) is tuple and all(_is_unchanging(part) for part in value)
