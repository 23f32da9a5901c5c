"""The methods of `asyncpg.Pool` that borrow a connection for one call."""

from collections.abc import Iterable
from typing import Any

__all__ = ["DriverApi"]


class DriverApi:
    """Methods of `asyncpg.Pool`, with the same arguments and results."""

    async def _call(self, method: str, query: str, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Borrow a connection."""
        raise NotImplementedError

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement, or several without arguments, and return the last status."""
        status: str = await self._call("execute", query, *args, timeout=timeout)
        return status

    async def executemany(
        self,
        command: str,
        args: Iterable[Any],
        *,
        timeout: float | None = None,
    ) -> None:
        """Run a statement for each sequence of arguments, all of them or none."""
        await self._call("executemany", command, args, timeout=timeout)

    async def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: Any = None,
    ) -> list[Any]:
        """Run a query and return its rows."""
        options = {} if record_class is None else {"record_class": record_class}
        rows: list[Any] = await self._call("fetch", query, *args, timeout=timeout, **options)
        return rows

    async def fetchval(
        self,
        query: str,
        *args: Any,
        column: int = 0,
        timeout: float | None = None,
    ) -> Any:
        """Run a query and return one value of the first row; `None` if there is no row."""
        return await self._call("fetchval", query, *args, column=column, timeout=timeout)

    async def fetchrow(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,
        record_class: Any = None,
    ) -> Any:
        """Run a query and return its first row; `None` if there is no row."""
        options = {} if record_class is None else {"record_class": record_class}
        return await self._call("fetchrow", query, *args, timeout=timeout, **options)

    async def fetchmany(
        self,
        query: str,
        args: Iterable[Any],
        *,
        timeout: float | None = None,
        record_class: Any = None,
    ) -> list[Any]:
        """Run a query for each sequence of arguments and return all rows."""
        options = {} if record_class is None else {"record_class": record_class}
        rows: list[Any] = await self._call("fetchmany", query, args, timeout=timeout, **options)
        return rows

    async def copy_from_table(self, table_name: str, *, output: Any, **options: Any) -> str:
        """Copy a table to a file."""
        async with self.acquire() as connection:
            return str(await connection.copy_from_table(table_name, output=output, **options))

    async def copy_from_query(self, query: str, *args: Any, output: Any, **options: Any) -> str:
        """Copy the result of a query to a file."""
        async with self.acquire() as connection:
            return str(await connection.copy_from_query(query, *args, output=output, **options))

    async def copy_to_table(self, table_name: str, *, source: Any, **options: Any) -> str:
        """Copy a file to a table."""
        async with self.acquire() as connection:
            return str(await connection.copy_to_table(table_name, source=source, **options))

    async def copy_records_to_table(self, table_name: str, *, records: Any, **options: Any) -> str:
        """Copy records to a table."""
        async with self.acquire() as connection:
            return str(
                await connection.copy_records_to_table(table_name, records=records, **options)
            )
