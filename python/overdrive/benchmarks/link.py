"""A slow link: a proxy that lets answers through at the rate of a network connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

__all__ = ["slow_link"]

PIECE = 1460
"""Bytes of a packet."""


@contextlib.asynccontextmanager
async def slow_link(url: str, bytes_per_second: float) -> AsyncIterator[str]:
    """Put a link before a server, each connection of which has the given rate downwards.

    Only the rate is that of a network: there is no delay and no loss.

    Yields:
        The address of the server at the other end of the link.
    """
    port = urlsplit(url).port
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server runs each connection in a task
        tasks.add(task)
        try:
            await _connect(reader, writer, port or 0, bytes_per_second)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connect(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, rate: float
) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    upwards = asyncio.create_task(_copy(reader, far_writer, float("inf")))
    try:
        await _copy(far_reader, writer, rate)
    except (asyncio.CancelledError, ConnectionError):
        # The end of the benchmark, or of the client.
        pass
    finally:
        upwards.cancel()
        await asyncio.gather(upwards, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    """Copy packets; each leaves when the one before would have passed a wire of this rate."""
    clock = asyncio.get_running_loop().time
    free = clock()
    while piece := await reader.read(PIECE):
        free = max(free, clock()) + len(piece) / rate
        if (wait := free - clock()) > 0:
            await asyncio.sleep(wait)
        writer.write(piece)
        await writer.drain()
