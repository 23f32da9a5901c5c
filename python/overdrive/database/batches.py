"""Many rows at a time."""

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, NamedTuple

from overdrive.database import _asyncpg
from overdrive.database._asyncpg import Connection
from overdrive.database.analysis import Verdict
from overdrive.database.catalog import Catalog
from overdrive.database.errors import PartialWriteError

__all__ = ["Target", "copy_target", "write"]


class Target(NamedTuple):
    """Where `COPY` writes."""

    schema: str
    table: str
    columns: tuple[str, ...]


def copy_target(verdict: Verdict, catalog: Catalog | None) -> Target | None:
    """Return what to copy to, if `COPY` does exactly what the statement does.

    Rules, row security, views and foreign tables are different for `COPY`, and it writes into
    columns that are always generated where `INSERT` refuses to.
    """
    insert = verdict.insert
    relation = None if insert is None or catalog is None else catalog.find(insert.table)
    if (
        insert is None
        or relation is None
        or relation.kind not in {"r", "p"}
        or relation.persistence == "t"
        or relation.rules
        or relation.row_security
        or relation.generated
    ):
        return None
    columns = relation.columns[: insert.width] if insert.columns is None else insert.columns
    if len(columns) != insert.width or len(set(columns)) != len(columns):
        return None
    return Target(relation.name.schema or "", relation.name.name, columns)


async def write(
    connection: Connection,
    query: str,
    args: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]],
    *,
    size: int,
    target: Target | None,
    copy_from: int,
) -> int:
    """Write all rows in batches, each of them whole or not at all, and return their number."""
    written = 0
    async for batch in _batches(args, size):
        try:
            if target is not None and len(batch) >= copy_from:
                await connection.copy_records_to_table(
                    target.table, schema_name=target.schema, columns=target.columns, records=batch
                )
            else:
                await connection.executemany(query, batch)
        except Exception as error:
            seen = not connection.is_closed() and (
                isinstance(error, (_asyncpg.PostgresError, TypeError, ValueError))
            )
            in_doubt = 0 if seen else len(batch)
            if not written and not in_doubt:
                raise
            raise PartialWriteError(
                f"{written} rows are written, {in_doubt} after them may be, the rest is not:"
                f" {type(error).__name__}: {error}",
                written=written,
                in_doubt=in_doubt,
            ) from error
        written += len(batch)
    return written


async def _batches(
    rows: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]], size: int
) -> AsyncIterator[list[Any]]:
    if isinstance(rows, AsyncIterable):
        batch: list[Any] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    if isinstance(rows, list) and 0 < len(rows) <= size:
        yield rows
        return
    source = iter(rows)
    while batch := list(itertools.islice(source, size)):
        yield batch
