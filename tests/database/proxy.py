"""A line to a server that can be cut, or made silent."""

import asyncio
import contextlib


class Proxy:
    """Passes bytes on between clients on loopback and a server's Unix socket."""

    def __init__(self, socket_path):
        self.socket_path = socket_path
        self.passing = asyncio.Event()
        self.passing.set()
        self.refuses = False
        self._writers = set()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Break all present lines."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        if self.refuses:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self.socket_path)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
